import {
  type Importance,
  type Json,
  type LayerSelector,
  LftError,
  parseOptions,
  type SelectorContext,
  type SelectorPlugin,
  type StepEvent,
  type UnitId,
  type UnitSet,
} from '@lft/core';
import { z } from 'zod';

export const __camel__Options = z.object({
  active: z.int().positive().default(1).describe('Number of units that train in each step'),
  momentum: z
    .number()
    .min(0)
    .lt(1)
    .default(0.9)
    .describe('Weight of the past in the running mean of the gradient norms'),
});

export type __Pascal__Options = z.input<typeof __camel__Options>;

/** Every unit trains in turn, `active` at a time. A unit's score is the running mean of its gradient norm. */
export function __camel__(options: __Pascal__Options = {}): LayerSelector {
  return new __Pascal__(parseOptions('selector __name__', __camel__Options, options));
}

class __Pascal__ implements LayerSelector {
  readonly name = '__name__';
  readonly granularity = 'block';
  readonly options: Json;

  private units: readonly UnitId[] = [];
  private scores = new Map<UnitId, number>();

  constructor(private readonly settings: z.output<typeof __camel__Options>) {
    this.options = settings;
  }

  setup(context: SelectorContext): void {
    this.units = context.units.map((unit) => unit.id);
    const { active } = this.settings;
    if (active > this.units.length) {
      throw new LftError(
        'selector-units',
        `selector __name__: active is ${active}, and ${this.units.length} units have something to train. Set active to at most ${this.units.length}.`,
        { active, units: this.units.length },
      );
    }
  }

  select(step: number): UnitSet {
    const { active } = this.settings;
    return new Set(Array.from({ length: active }, (_, k) => this.units[(step * active + k) % this.units.length]!));
  }

  observe({ gradientNorms }: StepEvent): void {
    const { momentum } = this.settings;
    for (const [unit, norm] of gradientNorms) {
      const past = this.scores.get(unit);
      this.scores.set(unit, past === undefined ? norm : momentum * past + (1 - momentum) * norm);
    }
  }

  importance(): Importance | undefined {
    if (this.scores.size === 0) return undefined;
    return { method: this.name, granularity: this.granularity, scores: new Map(this.scores) };
  }

  // The choice depends on the step alone: the scores are all there is to remember.
  state(): Json {
    return Object.fromEntries(this.scores);
  }

  restore(state: Json): void {
    this.scores = new Map(Object.entries(state as Record<UnitId, number>));
  }
}

/** `lft train --selector __name__`. */
export const selector: SelectorPlugin<typeof __camel__Options> = {
  name: '__name__',
  summary: '__name__: every unit in turn, scored by its gradient norm',
  options: __camel__Options,
  create: __camel__,
};
