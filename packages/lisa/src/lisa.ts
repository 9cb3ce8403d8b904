import {
  type Importance,
  type Json,
  type LayerSelector,
  type LayerUnit,
  LftError,
  parseOptions,
  type SelectorContext,
  type SelectorPlugin,
  type UnitId,
  type UnitSet,
} from '@lft/core';
import { z } from 'zod';
import { type BlockWeights, blockWeights, readProfile } from './block-weights.js';

export const lisaOptions = z.object({
  active: z.int().positive().default(2).describe('γ: number of blocks that train at a time'),
  interval: z
    .union([z.int().positive(), z.object({ fraction: z.number().positive().max(1) })])
    .default(20)
    .describe('K: steps between two draws; { fraction: 0.04 } is ⌈T/25⌉ of a run of T steps'),
  embeddings: z.boolean().default(true).describe('Whether embedding, final norm and head always train'),
  probabilities: z
    .union([
      z.enum(['uniform', 'increase', 'decrease']),
      z.array(z.number().min(0)).min(1),
      z.object({ importance: z.string(), over: z.string().optional() }).strict(),
    ])
    .default('uniform')
    .describe(
      'Weight of each block: uniform, increase (1…N), decrease (N…1), a list, or { importance: file, over: file }',
    ),
  sampling: z
    .enum(['without-replacement', 'bernoulli'])
    .default('without-replacement')
    .describe('Exactly γ distinct blocks, or each block by itself with γ expected'),
  optimizerState: z
    .enum(['reset', 'keep', 'offload'])
    .default('reset')
    .describe("What happens to the optimizer's state of a block that is switched off"),
});

export type LisaOptions = z.input<typeof lisaOptions>;

/**
 * LISA, Algorithm 1 (arXiv 2403.17919): every K steps freeze all blocks but γ drawn anew; what lies outside the blocks (embedding,
 * final norm, head) always trains. The learning-rate schedule goes on over the switches.
 */
export function lisa(options: LisaOptions = {}): LayerSelector {
  return new Lisa(parseOptions('selector lisa', lisaOptions, options));
}

class Lisa implements LayerSelector {
  readonly name = 'lisa';
  readonly granularity = 'block';
  readonly options: Json;
  readonly optimizerState: 'reset' | 'keep' | 'offload';
  private readonly profile: Importance | undefined;

  private random!: SelectorContext['random'];
  private blocks: readonly LayerUnit[] = [];
  private alwaysOn: readonly UnitId[] = [];
  private weights: BlockWeights = [];
  private interval = 0;

  private period = -1;
  private active: readonly UnitId[] = [];

  constructor(private readonly settings: z.output<typeof lisaOptions>) {
    this.options = settings as Json;
    this.optimizerState = settings.optimizerState;
    this.profile =
      typeof settings.probabilities === 'object' && 'importance' in settings.probabilities
        ? readProfile(settings.probabilities)
        : undefined;
  }

  setup(context: SelectorContext): void {
    const { active, interval, embeddings, probabilities } = this.settings;
    this.random = context.random;
    this.blocks = context.units.filter((unit) => unit.block !== undefined);
    this.alwaysOn = embeddings ? context.units.filter((unit) => unit.block === undefined).map((unit) => unit.id) : [];
    this.interval = typeof interval === 'number' ? interval : Math.ceil(interval.fraction * context.steps);

    const there = this.blocks.length;
    if (active > there) {
      throw new LftError(
        'selector-units',
        `selector lisa: active is ${active}, and ${there} blocks have something to train. Set active to at most ${there}.`,
        { active, blocks: there },
      );
    }
    this.weights = blockWeights(
      this.profile ?? (probabilities as Exclude<typeof probabilities, object> | number[]),
      this.blocks,
    );
    const drawable = this.weights.filter((weight) => weight > 0).length;
    if (drawable < active) {
      throw new LftError(
        'selector-options',
        `selector lisa: active is ${active}, and only ${drawable} of ${there} blocks have a probability above 0. Lower active, or raise more weights.`,
        { active, drawable },
      );
    }
  }

  select(step: number): UnitSet {
    // Algorithm 1: for i = 0 … T/K − 1 (the last, shorter period included): freeze all blocks, unfreeze γ of them, run K iterations.
    const period = Math.floor(step / this.interval);
    if (period !== this.period) {
      this.period = period;
      this.active = this.draw(period);
    }
    return new Set([...this.alwaysOn, ...this.active]);
  }

  /** p = {1, γ/N_L, …, γ/N_L, 1} over (embedding, blocks, head): γ blocks in expectation. */
  private draw(period: number): UnitId[] {
    const { active: gamma, sampling } = this.settings;
    const count = this.blocks.length;
    const random = this.random('select', period);
    if (sampling === 'without-replacement') {
      return random.sample(count, gamma, this.weights).map((index) => this.blocks[index]!.id);
    }
    // p_ℓ = γ·w_ℓ / Σw, at most 1. No block at all is no step: draw again.
    const total = this.weights.reduce((a, b) => a + b, 0);
    for (;;) {
      const drawn = this.blocks.filter((_, index) => random.next() < (gamma * this.weights[index]!) / total);
      if (drawn.length > 0) return drawn.map((unit) => unit.id);
    }
  }

  importance(): Importance | undefined {
    return this.profile;
  }

  // The set itself: a run resumed in the middle of a period goes on with it, instead of training every block until the next draw.
  state(): Json {
    return { period: this.period, active: this.active };
  }

  restore(state: Json): void {
    const saved = state as { period: number; active: UnitId[] };
    this.period = saved.period;
    this.active = saved.active;
  }
}

/** `lft train --selector lisa`. */
export const selector: SelectorPlugin<typeof lisaOptions> = {
  name: 'lisa',
  summary: 'LISA: γ random blocks train for K steps, then others; embedding and head always',
  options: lisaOptions,
  create: lisa,
};
