import {
  type Importance,
  type Json,
  type LayerSelector,
  LftError,
  type Probe,
  parseOptions,
  type SelectorContext,
  type SelectorPlugin,
  type StepEvent,
  type UnitId,
  type UnitSet,
} from '@lft/core';
import { z } from 'zod';

export const gradientNormOptions = z.object({
  active: z.int().positive().default(2).describe('Number of blocks that train in each step'),
  measure: z
    .enum(['probe', 'observe'])
    .default('probe')
    .describe('probe: extra passes measure every block; observe: only what trains is measured, at no cost'),
  interval: z.int().positive().default(20).describe('With probe: steps between two measurements'),
  examples: z.int().positive().default(8).describe('With probe: examples in a measurement'),
  epsilon: z
    .number()
    .min(0)
    .max(1)
    .default(0.1)
    .describe('With observe: probability that a place goes to a block drawn at random'),
});

export type GradientNormOptions = z.input<typeof gradientNormOptions>;

/** The `active` blocks with the largest gradient norm train. What lies outside the blocks trains in every step. */
export function gradientNorm(options: GradientNormOptions = {}): LayerSelector {
  return new GradientNorm(parseOptions('selector gradient-norm', gradientNormOptions, options));
}

class GradientNorm implements LayerSelector {
  readonly name = 'gradient-norm';
  readonly granularity = 'block';
  readonly options: Json;

  private random!: SelectorContext['random'];
  private steps = 0;
  private blocks: readonly UnitId[] = [];
  private outside: readonly UnitId[] = [];
  /** The last norm measured of each block. */
  private norms = new Map<UnitId, number>();

  constructor(private readonly settings: z.output<typeof gradientNormOptions>) {
    this.options = settings;
  }

  setup({ units, steps, random }: SelectorContext): void {
    const { active } = this.settings;
    this.random = random;
    this.steps = steps;
    this.blocks = units.filter((unit) => unit.block !== undefined).map((unit) => unit.id);
    this.outside = units.filter((unit) => unit.block === undefined).map((unit) => unit.id);
    if (active > this.blocks.length) {
      throw new LftError(
        'selector-units',
        `selector gradient-norm: active is ${active}, and ${this.blocks.length} blocks have something to train. Set active to at most ${this.blocks.length}.`,
        { active, blocks: this.blocks.length },
      );
    }
  }

  async probe(step: number, probe: Probe): Promise<void> {
    const { measure, interval, examples } = this.settings;
    if (measure !== 'probe' || step % interval !== 0 || step === this.steps) return;
    const batch = probe.batch({ size: examples, index: step / interval });
    this.remember(await probe.gradientNorms(batch));
  }

  observe({ gradientNorms }: StepEvent): void {
    if (this.settings.measure === 'observe') this.remember(gradientNorms);
  }

  private remember(measured: ReadonlyMap<UnitId, number>): void {
    for (const block of this.blocks) {
      const norm = measured.get(block);
      // Infinity or NaN would stay at the top of the ranking, or spoil its order.
      if (norm !== undefined && Number.isFinite(norm)) this.norms.set(block, norm);
    }
  }

  select(step: number): UnitSet {
    const { active, measure, epsilon } = this.settings;
    // A block that was never measured comes first, so that every block gets a norm.
    const norm = (block: UnitId) => this.norms.get(block) ?? Number.MAX_VALUE;
    const ranked = [...this.blocks].sort((a, b) => norm(b) - norm(a));
    const chosen = ranked.slice(0, active);
    if (measure === 'observe') {
      const random = this.random('explore', step);
      const others = random.shuffled(ranked.slice(active));
      for (let place = 0; place < active && others.length > 0; place++) {
        if (random.next() < epsilon) chosen[place] = others.pop()!;
      }
    }
    return new Set([...this.outside, ...chosen]);
  }

  importance(): Importance | undefined {
    if (this.norms.size === 0) return undefined;
    return { method: this.name, granularity: this.granularity, scores: new Map(this.norms) };
  }

  state(): Json {
    return { norms: Object.fromEntries(this.norms) };
  }

  restore(state: Json): void {
    const { norms } = state as { norms: Record<UnitId, number> };
    this.norms = new Map(Object.entries(norms));
  }
}

/** `lft train --selector gradient-norm`. */
export const selector: SelectorPlugin<typeof gradientNormOptions> = {
  name: 'gradient-norm',
  summary: 'gradient-norm: the blocks with the largest gradients train',
  options: gradientNormOptions,
  create: gradientNorm,
};
