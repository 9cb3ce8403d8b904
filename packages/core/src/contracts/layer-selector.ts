import type { Random } from '../random/keyed-random.js';
import type { Importance } from './importance.js';
import type { Json } from './json.js';
import type { Granularity, LayerUnit, UnitId, UnitSet } from './layer-unit.js';
import type { Probe } from './probe.js';

/** What happens to the optimizer's state of a unit that was switched off: dropped, kept, or written to disk until it is switched on again. */
export type OptimizerStatePolicy = 'reset' | 'keep' | 'offload';

/** What a selector knows before the first step. */
export interface SelectorContext {
  /** Every trainable unit in forward order, at the selector's granularity. */
  readonly units: readonly LayerUnit[];
  /** Number of decoder blocks of the model. */
  readonly blocks: number;
  /** Number of optimizer steps of the run. */
  readonly steps: number;
  /** Generator keyed by (run seed, selector name, purpose, keys): a resumed run draws what an uninterrupted one draws. */
  random(purpose: string, ...keys: readonly (string | number)[]): Random;
}

/** What a selector is told after every optimizer step. */
export interface StepEvent {
  /** 0-based index of the step that just ended. */
  readonly step: number;
  /** Mean training loss per labelled token of this step. */
  readonly loss: number;
  /** L2 norm of the gradient (before clipping) of every unit that trained. */
  readonly gradientNorms: ReadonlyMap<UnitId, number>;
  /** L2 norm of every unit's parameters after the step. Costs a pass over them: call it only when it is needed. */
  parameterNorms(): Map<UnitId, number>;
}

/**
 * When each unit trains, and how important it is: a plugin. It never touches tensors of the model: what it needs of the model it
 * asks of the Probe.
 *
 * Order of calls: `setup` once; on resume `restore`; then for every step `probe`, `select`, (the step), `observe`; after the last
 * step `probe` once more with step = steps. Everything that later choices depend on is in `state()`.
 */
export interface LayerSelector {
  /** E.g. `ist`. Written into run folders and importance files. */
  readonly name: string;
  /** The options it was made with, defaults filled in: part of the run's fingerprint. */
  readonly options: Json;
  readonly granularity: Granularity;
  /** What the method's paper or code does with the optimizer's state. The run's option wins. Default `keep`. */
  readonly optimizerState?: OptimizerStatePolicy;
  /** @throws SelectorError when an option does not fit the model (more units than there are). */
  setup(context: SelectorContext): void | Promise<void>;
  /** The units that train in this step: a non-empty subset of the units' ids, unchanged until the next call. Called once before every step. */
  select(step: number): UnitSet;
  observe?(event: StepEvent): void;
  /** Passes of its own, when it needs them: called before every select, and once after the last step. */
  probe?(step: number, probe: Probe): Promise<void>;
  /** Current scores, or undefined while (or if) it has none. */
  importance(): Importance | undefined;
  state(): Json;
  /** Called after setup, on a fresh object: the next calls must give what they would have given where `state` was taken. */
  restore(state: Json): void;
}
