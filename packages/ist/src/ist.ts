import {
  type Importance,
  type Json,
  type LayerSelector,
  type LayerUnit,
  LftError,
  type Probe,
  parseOptions,
  type Random,
  type SelectorContext,
  type SelectorPlugin,
  type UnitId,
  type UnitSet,
} from '@lft/core';
import { z } from 'zod';
import { codeRound, paperRound, sigmoid } from './importance-round.js';

const countOrShare = z
  .number()
  .positive()
  .refine((value) => value < 1 || Number.isInteger(value), 'is neither a share in (0, 1) nor a whole number of blocks');

export const istOptions = z.object({
  active: countOrShare.default(0.25).describe('N_u: blocks that train in a step; a count, or a share in (0, 1)'),
  suppressed: countOrShare
    .default(0.5)
    .describe('N_v: blocks that a candidate suppresses; a count, or a share in (0, 1)'),
  candidates: z.int().min(2).default(3).describe('N_c: candidates in an importance round'),
  beta: z.number().min(0).lt(1).default(0.25).describe('β: gate of a suppressed block'),
  mu: z.number().positive().default(10).describe('μ: step size of the scores'),
  interval: z.int().positive().default(10).describe('T_i: steps between two importance rounds'),
  examples: z.int().positive().default(16).describe('Examples that the candidates of a round are compared on'),
  split: z.enum(['train', 'validation']).default('train').describe('Where these examples come from'),
  selection: z
    .enum(['multinomial', 'topk'])
    .default('multinomial')
    .describe('Draw the blocks by σ(importance) in every step, or take the most important ones'),
  variant: z.enum(['code', 'paper']).default('code').describe("The score rule of the authors' code, or of the paper"),
});

export type IstOptions = z.input<typeof istOptions>;

/**
 * IST, importance-aware sparse tuning (arXiv 2410.11772): N_u blocks train in a step, drawn by scores that a few extra forward
 * passes learn. What lies outside the blocks is not touched: it trains when the adapter makes it trainable.
 */
export function ist(options: IstOptions = {}): LayerSelector {
  return new Ist(parseOptions('selector ist', istOptions, options));
}

class Ist implements LayerSelector {
  readonly name = 'ist';
  readonly granularity = 'block';
  readonly options: Json;
  // The selection changes with every step: a reset would leave no momentum.
  readonly optimizerState = 'keep';

  private random!: SelectorContext['random'];
  private steps = 0;
  private blocks: readonly LayerUnit[] = [];
  private outside: readonly UnitId[] = [];
  private active = 0;
  private suppressed = 0;

  /** I, one a block: higher matters more. The un-importance U of the authors' code is −I. */
  private scores: number[] = [];
  private rounds = 0;
  private scored = false;

  constructor(private readonly settings: z.output<typeof istOptions>) {
    this.options = settings as Json;
  }

  setup(context: SelectorContext): void {
    const { candidates } = this.settings;
    this.random = context.random;
    this.steps = context.steps;
    this.blocks = context.units.filter((unit) => unit.block !== undefined);
    this.outside = context.units.filter((unit) => unit.block === undefined).map((unit) => unit.id);
    const count = this.blocks.length;
    this.active = this.countOf('active', count, count);
    this.suppressed = this.countOf('suppressed', count, count - 1);
    const sets = combinations(count, this.suppressed, candidates);
    if (sets < candidates) {
      throw new LftError(
        'selector-options',
        `selector ist: ${candidates} candidates are to differ, and there are only ${sets} ways to suppress ${this.suppressed} of ${count} blocks. Set candidates to at most ${sets}, or suppressed to about half of the blocks.`,
        { candidates, sets, suppressed: this.suppressed, blocks: count },
      );
    }
    this.scores = this.blocks.map(() => 0);
  }

  private countOf(name: 'active' | 'suppressed', blocks: number, most: number): number {
    const value = this.settings[name];
    const count = value < 1 ? Math.max(1, Math.floor(value * blocks)) : value;
    if (count <= most) return count;
    throw new LftError(
      'selector-units',
      `selector ist: ${name} is ${value}, and ${blocks} blocks have something to train. ${most < 1 ? 'IST needs two blocks or more.' : `Set ${name} to at most ${most}, or to a share.`}`,
      { [name]: value, blocks },
    );
  }

  /** The importance loop: every T_i steps, not before the first and not after the last. */
  async probe(step: number, probe: Probe): Promise<void> {
    const { interval, examples, split, beta, mu, variant } = this.settings;
    if (step === 0 || step === this.steps || step % interval !== 0) return;
    // One batch for all candidates, from a shuffled pass of its own.
    const batch = probe.batch({ size: examples, split, index: this.rounds });
    this.rounds += 1;
    const candidates = this.drawCandidates(this.random('candidates', step));
    const losses: number[] = [];
    for (const suppressed of candidates) {
      const gates = new Map(suppressed.map((i) => [this.blocks[i]!.id, beta]));
      losses.push(await probe.loss(batch, { units: gates }));
    }
    // A round with a loss that is not a number would spoil every score that it touches.
    if (!losses.every(Number.isFinite)) return;
    this.scores =
      variant === 'code'
        ? codeRound(this.scores.map(negative), candidates, losses, mu).map(negative)
        : paperRound(
            this.scores,
            candidates.map((suppressed) => this.complement(suppressed)),
            losses,
            mu,
          );
    this.scored = true;
  }

  /** N_c different sets of N_v blocks. Code: drawn ∝ σ(U) = σ(−I). The paper leaves the draw open: uniform here. */
  private drawCandidates(random: Random): number[][] {
    const weights = this.settings.variant === 'code' ? this.scores.map((score) => sigmoid(-score)) : undefined;
    const drawn = new Map<string, number[]>();
    for (let tries = 0; drawn.size < this.settings.candidates; tries++) {
      // Drawn again until it differs. Far apart scores could make that endless: then uniformly.
      const set = random.sample(this.blocks.length, this.suppressed, tries < 1000 ? weights : undefined);
      if (!drawn.has(set.join())) drawn.set(set.join(), set);
    }
    return [...drawn.values()];
  }

  private complement(suppressed: readonly number[]): number[] {
    return this.blocks.map((_, i) => i).filter((i) => !suppressed.includes(i));
  }

  /** The tuning loop, in every step: S = N_u blocks without replacement ∝ σ(−U) = σ(I). Uniform until the first round. */
  select(step: number): UnitSet {
    const random = this.random('select', step);
    const indices = this.blocks.map((_, i) => i);
    const chosen =
      this.settings.selection === 'multinomial'
        ? random.sample(indices.length, this.active, this.scores.map(sigmoid))
        : // Shuffled first, so that equal scores take turns.
          random
            .shuffled(indices)
            .sort((a, b) => this.scores[b]! - this.scores[a]!)
            .slice(0, this.active);
    return new Set([...this.outside, ...chosen.sort((a, b) => a - b).map((i) => this.blocks[i]!.id)]);
  }

  importance(): Importance | undefined {
    if (!this.scored) return undefined;
    const scores = new Map(this.blocks.map((unit, i) => [unit.id, this.scores[i]!]));
    return { method: this.name, granularity: this.granularity, scores };
  }

  state(): Json {
    return { scores: this.scores, rounds: this.rounds, scored: this.scored };
  }

  restore(state: Json): void {
    const saved = state as { scores: number[]; rounds: number; scored: boolean };
    this.scores = [...saved.scores];
    this.rounds = saved.rounds;
    this.scored = saved.scored;
  }
}

/** −x without a negative zero, which JSON would not bring back. */
const negative = (x: number) => 0 - x;

/** C(n, k), or `enough` as soon as it is reached. */
function combinations(n: number, k: number, enough: number): number {
  let count = 1;
  for (let i = 1; i <= Math.min(k, n - k); i++) {
    count = (count * (n - i + 1)) / i;
    if (count >= enough) return enough;
  }
  return count;
}

/** `lft train --selector ist`. */
export const selector: SelectorPlugin<typeof istOptions> = {
  name: 'ist',
  summary: 'IST: a few blocks train in each step, drawn by importance scores learned on the way',
  options: istOptions,
  create: ist,
};
