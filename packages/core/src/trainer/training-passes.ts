import type { Example } from '../contracts/data-source.js';
import type { Parameter } from '../contracts/parameter.js';
import { LftError } from '../errors/lft-error.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import type { ForwardPass } from '../models/forward-pass.js';
import { keyedSeed } from '../random/keyed-random.js';
import { type Batch, collate } from './batch.js';
import { DataOrder } from './data-order.js';
import { prefixStates } from './forward-stages.js';
import { type GradientRequest, lowestStage, streamGradients } from './loss-gradients.js';
import type { ParameterUpdate } from './parameter-update.js';
import { PrefixCache } from './prefix-cache.js';
import type { ResolvedTraining } from './training-options.js';
import { wantedParameters } from './wanted-parameters.js';

/** Memory for activations that are kept for the backward when `recompute` is `auto`: 512 MiB. */
const ACTIVATION_BYTES = 512 * 1024 * 1024;

export interface TrainingPassesOptions {
  readonly model: AdaptedModel;
  readonly examples: readonly Example[];
  readonly training: ResolvedTraining;
  /** Where the cache of activations lies, when there is one. */
  readonly cacheFile: string;
  readonly notice: (message: string) => void;
}

/** One of the passes that make up a step. */
interface MicroBatch {
  readonly index: number;
  readonly examples: readonly Example[];
  readonly batch: Batch;
}

/** What a step's forward and backward went over. */
export interface StepPass {
  /** Mean loss per labelled token. */
  readonly loss: number;
  /** Labelled tokens. */
  readonly tokens: number;
  /** All tokens. */
  readonly processed: number;
}

/** The forward and backward passes of every step, over its examples. */
export class TrainingPasses {
  private readonly order: DataOrder;
  private readonly prefixCache: PrefixCache | undefined;

  /** @throws LftError options-invalid when the adapter does not go with a cache of activations */
  constructor(private readonly options: TrainingPassesOptions) {
    const { examples, training, model, cacheFile, notice } = options;
    this.order = new DataOrder(examples, training.seed, 'data-order');
    if (training.prefixCache === 0) return;
    if (model.adapter.afterStep) {
      throw new LftError(
        'options-invalid',
        `prefixCache does not go with the adapter ${model.adapter.name}: it may change any parameter after a step, so that no activations stay as they are`,
        { adapter: model.adapter.name },
      );
    }
    this.prefixCache = new PrefixCache({ file: cacheFile, limit: training.prefixCache * 1e9, notice });
  }

  /** All, none, or as many of the blocks as do not fit in the memory set aside for activations. */
  recompute(batch: Batch): GradientRequest['recompute'] {
    const { recompute } = this.options.training;
    if (recompute !== 'auto') return recompute;
    const bytes = batch.rows * batch.length * this.options.model.base.activationBytesPerToken;
    return { keep: Math.floor(ACTIVATION_BYTES / bytes) };
  }

  /** Gives the update the gradients of the step's mean loss, whole or as parts of micro-batches. @throws NotFinite, LftError labels-masked */
  async run(step: number, trained: readonly Parameter[], update: ParameterUpdate): Promise<StepPass> {
    const { model, training } = this.options;
    const all = this.microBatches(step);
    const labelled = all.filter(({ batch }) => batch.targets.length > 0);
    const tokens = labelled.reduce((sum, { batch }) => sum + batch.targets.length, 0);
    if (tokens === 0) {
      throw new LftError(
        'labels-masked',
        `step ${step}: no token of the batch has a label, so there is nothing to learn. Look at the template and at maxLength, which may cut the responses off.`,
        { step },
      );
    }
    const wanted = wantedParameters(model, trained);
    let loss = 0;
    for (const micro of labelled) {
      const { batch, index } = micro;
      const pass = model.forward({ training: true, seed: keyedSeed(training.seed, 'dropout', step, index) });
      const prefix = await this.prefix(lowestStage(wanted), micro, pass);
      const request = { model: model.base, pass, batch, wanted, recompute: this.recompute(batch), prefix };
      loss += streamGradients({ ...request, scale: 1 / tokens }, (i, gradient, sum) => {
        update.add(trained[i]!, gradient, sum, micro === labelled.at(-1));
      });
    }
    const processed = all.flatMap(({ examples }) => examples).reduce((sum, { ids }) => sum + ids.length, 0);
    return { loss: loss / tokens, tokens, processed };
  }

  /** Parameters were changed by something else than a step. */
  restarted(): void {
    this.prefixCache?.drop();
  }

  async close(): Promise<void> {
    await this.prefixCache?.close();
  }

  private get padding(): number {
    return this.options.model.base.info.padTokenId ?? 0;
  }

  /** The examples of a step, in passes of at most `batchSize`. */
  private microBatches(step: number): MicroBatch[] {
    const { batchSize, gradientAccumulation } = this.options.training;
    const first = step * batchSize * gradientAccumulation;
    return Array.from({ length: gradientAccumulation }, (_, index) => {
      const examples = this.order.slice(first + index * batchSize, batchSize);
      return { index, examples, batch: collate(examples, this.padding) };
    });
  }

  /** What the lowest stage that trains reads, when it may come from the cache. */
  private async prefix(stage: number, { examples, batch }: MicroBatch, pass: ForwardPass) {
    if (!this.prefixCache || stage < 1) return undefined;
    const { base } = this.options.model;
    return this.prefixCache.states(stage, examples, batch, (example) => ({
      states: prefixStates({ model: base, pass, batch: collate([example], this.padding) }, stage),
      random: pass.random,
    }));
  }
}
