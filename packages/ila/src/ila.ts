import {
  cutRanking,
  type Importance,
  type Json,
  type LayerSelector,
  type LayerUnit,
  LftError,
  type Probe,
  parseOptions,
  type SelectorContext,
  type SelectorPlugin,
  type StepEvent,
  type UnitId,
  type UnitSet,
} from '@lft/core';
import type { z } from 'zod';
import { type IlaOptions, ilaOptions } from './ila-options.js';
import { Stability } from './stability.js';
import { learnGates, leaveOneOutScores, taylorScores, type UnitScores } from './unit-scores.js';

/** What stage 2 found, beside the scores. */
export interface IlaReport {
  /** Number of completed steps when the ranking was made. */
  readonly step: number;
  /** Whether stage 1 was ε-stable by then; if not, the ranking may still move. */
  readonly stable: boolean;
  /** Loss at γ = 1. */
  readonly loss: number;
  /** Loss at γ = σ(s_init), or null when no gates were learned. */
  readonly gatedLoss: number | null;
  /** Highest score − lowest: a ranking of tiny differences deserves a second seed. */
  readonly spread: number;
}

export interface IlaSelector extends LayerSelector {
  /** Undefined until the ranking is made. */
  report(): IlaReport | undefined;
}

/**
 * ILA, "Understanding Layer Significance in LLM Alignment" (arXiv 2410.17875): train all modules until the loss is stable, learn a
 * gate on the change of each linear module, rank by the gates, start again and train without the least important modules.
 */
export function ila(options: IlaOptions = {}): IlaSelector {
  return new Ila(parseOptions('selector ila', ilaOptions, options));
}

/** Linear modules, and adapters at the output of a sublayer. Norms and the embedding train along, as in the base method. */
const isRanked = (unit: LayerUnit) => unit.role !== 'norm' && unit.role !== 'embed' && unit.role !== 'block';

class Ila implements IlaSelector {
  readonly name = 'ila';
  readonly granularity = 'module';
  readonly options: Json;

  private all: readonly UnitId[] = [];
  private ranked: readonly UnitId[] = [];
  private steps = 0;
  private warmup = 0;

  private readonly stability: Stability;
  private stage: 'train' | 'tune' = 'train';
  private scores: ReadonlyMap<UnitId, number> | undefined;
  private found: IlaReport | undefined;
  private tuned: UnitSet = new Set();

  constructor(private readonly settings: z.output<typeof ilaOptions>) {
    this.options = { ...settings, ...(settings.keep === undefined && { freeze: settings.freeze ?? 0.25 }) } as Json;
    this.stability = new Stability(settings);
  }

  setup(context: SelectorContext): void {
    const { warmup, after } = this.settings;
    this.steps = context.steps;
    this.all = context.units.map((unit) => unit.id);
    this.ranked = context.units.filter(isRanked).map((unit) => unit.id);
    if (this.ranked.length === 0) {
      throw new LftError(
        'selector-units',
        `selector ila: none of the ${this.all.length} trainable modules is a linear module (q, k, v, o, gate, up, down, head). Give the adapter such targets, e.g. q_proj and v_proj.`,
        { units: this.all },
      );
    }
    this.warmup = warmup < 1 ? Math.max(1, Math.floor(warmup * context.steps)) : warmup;
    if (after === 'tune' && this.warmup >= context.steps) {
      throw new LftError(
        'selector-options',
        `selector ila: warmup is ${this.warmup} steps of a run of ${context.steps}, so that none is left to tune. Lower warmup, or rank only (after: 'rank').`,
        { warmup: this.warmup, steps: context.steps },
      );
    }
  }

  /** Stage 1, LoRA on all linear modules until stable, and stage 3, only the important ones. */
  select(): UnitSet {
    return this.stage === 'train' ? new Set(this.all) : this.tuned;
  }

  observe(event: StepEvent): void {
    if (this.stage === 'train') this.stability.push(event.loss);
  }

  /** Stage 2, when it is due. It is one call, so that no checkpoint ever lies inside it and the gates' Adam needs no saving. */
  async probe(step: number, probe: Probe): Promise<void> {
    if (this.scores || step === 0) return;
    const last = step === this.steps;
    const due = this.settings.after === 'rank' ? last : !last && (this.stability.stable || step >= this.warmup);
    if (!due) return;

    const { scores, loss, gatedLoss } = await this.score(probe);
    const values = [...scores.values()];
    if (!values.every(Number.isFinite)) {
      throw new LftError(
        'loss-not-finite',
        `selector ila: the loss at step ${step} (${loss}) gives scores that are not numbers, so nothing can be ranked. Lower the learning rate, or end stage 1 earlier (warmup).`,
        { step, loss },
      );
    }
    const spread = Math.max(...values) - Math.min(...values);
    this.scores = scores;
    this.found = { step, stable: this.stability.stable, loss, gatedLoss: gatedLoss ?? null, spread };

    if (this.settings.after === 'rank') return;
    if (this.settings.restart) await probe.restart();
    this.stage = 'tune';
    this.tuned = this.cut();
  }

  private score(probe: Probe): Promise<UnitScores> {
    const { score } = this.settings;
    if (score === 'taylor') return taylorScores(probe, this.ranked, this.settings);
    if (score === 'leave-one-out') return leaveOneOutScores(probe, this.ranked, this.settings);
    return learnGates(probe, this.ranked, this.settings);
  }

  /** ‖γ‖ < H, realised by the ranking: n_frozen = floor(N · freeze), or n_tuned = round(N · keep); ties by module index. */
  private cut(): UnitSet {
    const { keep, freeze = 0.25 } = this.settings;
    const stays = new Set(cutRanking({ scores: this.scores! }, keep === undefined ? { freeze } : { keep }));
    return new Set(this.all.filter((id) => stays.has(id) || !this.scores!.has(id)));
  }

  importance(): Importance | undefined {
    return this.scores && { method: this.name, granularity: this.granularity, scores: this.scores };
  }

  report(): IlaReport | undefined {
    return this.found;
  }

  state(): Json {
    return {
      stage: this.stage,
      stability: this.stability.state(),
      scores: this.scores ? [...this.scores] : null,
      report: this.found ? { ...this.found } : null,
    };
  }

  restore(state: Json): void {
    const saved = state as unknown as {
      stage: 'train' | 'tune';
      stability: Json;
      scores: [UnitId, number][] | null;
      report: IlaReport | null;
    };
    this.stage = saved.stage;
    this.stability.restore(saved.stability);
    this.scores = saved.scores ? new Map(saved.scores) : undefined;
    this.found = saved.report ?? undefined;
    if (this.stage === 'tune') this.tuned = this.cut();
  }
}

/** `lft train --selector ila`. */
export const selector: SelectorPlugin<typeof ilaOptions> = {
  name: 'ila',
  summary: 'ILA: train, learn a gate per linear module, then train again without the least important',
  options: ilaOptions,
  create: ila,
};
