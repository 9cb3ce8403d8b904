import type { Tensor } from '@tensorflow/tfjs-core';
import type { Random } from '../random/keyed-random.js';
import type { Delta } from './delta.js';
import type { Json } from './json.js';
import type { ModelInfo } from './model-info.js';
import type { ModuleSite } from './module-site.js';
import type { LazyValue } from './parameter.js';

/** What an adapter may ask for while it makes the initial values of one site. */
export interface Init {
  /** Generator keyed by (seed, 'init', site path, name): the same values whatever the order of the calls. */
  random(name: string): Random;
  /**
   * The frozen weight in Hugging Face layout ([out, in], [vocabulary, width] or [width]), to train it: the initial value of a
   * {@link Parameter}, which copies it into f32 when it first trains.
   * @throws LftError options-invalid when the model holds it quantised (int8, nf4)
   */
  weight(): LazyValue;
  /** The frozen bias [out], or undefined. */
  bias(): LazyValue | undefined;
}

/** One site with what an adapter attached to it. */
export interface Attachment {
  readonly site: ModuleSite;
  readonly delta: Delta;
}

/** What {@link Adapter.afterStep} is told. */
export interface AdapterStep {
  /** Number of completed optimizer steps, this one included. */
  readonly step: number;
  /** Number of steps of the whole run. */
  readonly steps: number;
  /** Gradients of this step (clipped) by parameter name; valid during the call only. */
  readonly gradients: ReadonlyMap<string, Tensor>;
}

/** How an adapter is written to a folder that other tools read. */
export interface AdapterFormat {
  /** E.g. `peft`. */
  readonly name: string;
  /**
   * Writes the adapter into an existing, empty folder. Called by `save`, after training or from a checkpoint.
   * @param attachments every site that has a delta, in forward order
   */
  write(folder: string, attachments: readonly Attachment[], model: ModelInfo): Promise<void>;
}

/**
 * What is trained, and where: a plugin. One object serves one model; it keeps no tensors but those of its deltas.
 *
 * Order of calls: `prepare` once with all sites, `attach` once per site in forward order, then `afterStep` after every
 * optimizer step. `attach` is called a second time for every site when a selector asks to start again from the initial values:
 * it must then return deltas with the same parameter names and, for the same Init, the same values.
 */
export interface Adapter {
  /** E.g. `lora`. Written into run folders and importance files. */
  readonly name: string;
  /** The options it was made with, defaults filled in: part of the run's fingerprint. */
  readonly options: Json;
  /**
   * Checks the options against the model before anything is allocated.
   * @throws TargetError when a target matches no site, RankError when a rank is larger than a site allows
   */
  prepare?(sites: readonly ModuleSite[], model: ModelInfo): void;
  /** What is trained at this site, or undefined to leave it as it is. */
  attach(site: ModuleSite, init: Init): Delta | undefined;
  afterStep?(event: AdapterStep): void;
  /** State beyond the parameters (AdaLoRA's averages). Saved in checkpoints. */
  state?(): Json;
  restore?(state: Json): void;
  /** Absent: the parameters are written as they are, in a safetensors file of ours. */
  readonly format?: AdapterFormat;
}
