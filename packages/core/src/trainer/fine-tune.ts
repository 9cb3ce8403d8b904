import { ensureBackend } from '../backend/use-backend.js';
import type { Adapter } from '../contracts/adapter.js';
import { type DataSource, type Dataset, IGNORED_LABEL } from '../contracts/data-source.js';
import type { Json } from '../contracts/json.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import type { Optimizer } from '../contracts/optimizer.js';
import { LftError } from '../errors/lft-error.js';
import { parseOptions } from '../errors/parse-options.js';
import { AdaptedModel } from '../models/adapted-model.js';
import type { CausalModel } from '../models/causal-model.js';
import { adamw } from '../optimizer/adamw.js';
import { fixed } from '../selectors/fixed.js';
import type { WeightFormat } from '../weights/frozen-weight.js';
import type { ProgressEvent } from './progress.js';
import { checkSameRun } from './resume-check.js';
import { Run } from './run.js';
import { RunFolder } from './run-folder.js';
import { Trainer } from './trainer.js';
import { type ResolvedTraining, type TrainingOptions, trainingOptions } from './training-options.js';

export interface FineTuneOptions extends TrainingOptions {
  readonly model: CausalModel;
  readonly data: DataSource;
  readonly adapter: Adapter;
  /** Default: every unit in every step. */
  readonly selector?: LayerSelector;
  /** Default: adamw(). */
  readonly optimizer?: Optimizer;
  /** Folder for config, metrics and checkpoints. Without one nothing is written, and the run cannot be resumed. */
  readonly out?: string;
  /** Go on from the newest checkpoint in `out`. */
  readonly resume?: boolean;
  /** When it aborts, the run finishes its step, saves a checkpoint and returns with `interrupted`. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (event: ProgressEvent) => void;
}

/** Rows longer than this are the exception in instruction data, and attention costs grow with the square. */
const DEFAULT_MAX_LENGTH = 512;

/**
 * Trains an adapter on a model, by the layers that the selector chooses.
 * @throws LftError options-invalid, target-not-found, data-empty, resume-mismatch, loss-not-finite, output-not-writable and what the plugins find wrong
 */
export async function fineTune(options: FineTuneOptions): Promise<Run> {
  const {
    model,
    data,
    adapter,
    selector = fixed(),
    optimizer = adamw(),
    out,
    resume,
    signal,
    onProgress = () => {},
    ...rest
  } = options;
  const given = parseOptions('training', trainingOptions, rest);
  const backend = await ensureBackend();
  if (resume && !out) throw new LftError('options-invalid', 'resume needs the folder of the run: set out');
  const folder = out === undefined ? undefined : new RunFolder(out);
  if (!resume) await folder?.claim();
  const maxLength = given.maxLength ?? Math.min(model.info.contextLength, DEFAULT_MAX_LENGTH);
  if (maxLength > model.info.contextLength) {
    throw new LftError(
      'options-invalid',
      `maxLength ${maxLength} is longer than the model's context of ${model.info.contextLength} tokens`,
      {
        maxLength,
        contextLength: model.info.contextLength,
      },
    );
  }
  const dataset = await data.prepare({ model: model.info, maxLength, seed: given.seed });
  checkDataset(dataset, model);
  const perEpoch = Math.ceil(dataset.train.length / (given.batchSize * given.gradientAccumulation));
  const training: ResolvedTraining = {
    ...given,
    maxLength,
    steps: given.steps ?? Math.max(1, Math.round(perEpoch * given.epochs)),
  };

  const adapted = new AdaptedModel(model, adapter, { seed: training.seed });
  try {
    if (adapted.parameters.length === 0) {
      throw new LftError('target-not-found', `adapter ${adapter.name} attached nothing, so there is nothing to train`, {
        adapter: adapter.name,
      });
    }
    const trainer = new Trainer({
      model: adapted,
      data: dataset,
      selector,
      optimizer,
      training,
      folder,
      onProgress,
      signal,
    });
    const config = describeRun({ adapted, data, dataset, selector, optimizer, training, backend, trainer });
    if (folder && resume) checkSameRun(folder.path, await folder.readConfig(), config);
    else await folder?.create(config);
    await trainer.setup();
    if (resume) await trainer.resume();
    onProgress({
      kind: 'start',
      step: trainer.completed,
      steps: training.steps,
      backend,
      model: model.info,
      trainable: adapted.trainable,
      total: totalValues(model),
      units: trainer.units.length,
      data: dataset.description,
      trainExamples: dataset.train.length,
      validationExamples: dataset.validation.length,
    });
    const finished = await trainer.run();
    const run = new Run(adapted, selector, optimizer, trainer, dataset, !finished, training.seed);
    if (finished && out !== undefined) await run.writeImportance(out);
    return run;
  } catch (error) {
    adapted.dispose();
    optimizer.dispose();
    throw error;
  }
}

function checkDataset({ train, validation, description }: Dataset, model: CausalModel): void {
  if (train.length === 0) {
    throw new LftError(
      'data-empty',
      `there is no training example in ${description}: check the file, and the share held out for validation`,
      { description },
    );
  }
  const { vocabularySize, contextLength } = model.info;
  for (const { ids, labels } of [...train, ...validation]) {
    if (labels.length !== ids.length) {
      throw new LftError(
        'data-invalid',
        `an example of ${description} has ${labels.length} labels for ${ids.length} tokens: each token has one`,
        { labels: labels.length, ids: ids.length },
      );
    }
    if (ids.length > contextLength) {
      throw new LftError(
        'example-too-long',
        `an example of ${description} has ${ids.length} tokens, and the model's context is ${contextLength}: set maxLength, or shorten the row`,
        {
          length: ids.length,
          contextLength,
        },
      );
    }
    const outside = ids.find((id) => id < 0 || id >= vocabularySize);
    if (outside !== undefined) {
      throw new LftError(
        'vocabulary-mismatch',
        `${description} holds token id ${outside}, and the model has ${vocabularySize} tokens (0 to ${vocabularySize - 1}): the tokenizer is of another model`,
        {
          id: outside,
          vocabularySize,
        },
      );
    }
    const unknown = labels.find((id) => id !== IGNORED_LABEL && (id < 0 || id >= vocabularySize));
    if (unknown !== undefined) {
      throw new LftError(
        'data-invalid',
        `${description} holds the label ${unknown}: a label is the token's id (0 to ${vocabularySize - 1}), or ${IGNORED_LABEL} where it is not learned`,
        { label: unknown, vocabularySize },
      );
    }
  }
}

export function totalValues(model: CausalModel): number {
  return model.sites.reduce((sum, site) => {
    if (site.tiedTo) return sum;
    const sizes = (['weight', 'bias'] as const).map((tensor) => model.weight(site.path, tensor)?.data.length ?? 0);
    return sum + sizes[0]! + sizes[1]!;
  }, 0);
}

/** How the matrices of the blocks are held. */
function blockFormat(model: CausalModel): WeightFormat {
  const site = model.sites.find(({ kind, block }) => kind === 'linear' && block !== undefined)!;
  return model.weight(site.path, 'weight')!.format;
}

/** What `config.json` of a run holds: everything that its numbers depend on. */
function describeRun(parts: {
  adapted: AdaptedModel;
  data: DataSource;
  dataset: Dataset;
  selector: LayerSelector;
  optimizer: Optimizer;
  training: ResolvedTraining;
  backend: string;
  trainer: Trainer;
}): Json {
  const { adapted, data, dataset, selector, optimizer, training, backend, trainer } = parts;
  const { source, architecture, fingerprint, blocks, width, vocabularySize } = adapted.base.info;
  const config = {
    version: 1,
    model: { source, architecture, fingerprint, blocks, width, vocabularySize, weights: blockFormat(adapted.base) },
    adapter: { name: adapted.adapter.name, options: adapted.adapter.options },
    selector: { name: selector.name, granularity: selector.granularity, options: selector.options },
    optimizer: { name: optimizer.name, options: optimizer.options },
    data: { options: data.options, fingerprint: dataset.fingerprint, description: dataset.description },
    training,
    backend,
    trainable: adapted.trainable,
    total: totalValues(adapted.base),
    units: trainer.units.map(({ id, block, role, size }) => ({ id, block: block ?? null, role, size })),
  };
  // Through JSON, so that what is compared on resume is what was written (undefined fields are gone).
  return JSON.parse(JSON.stringify(config)) as Json;
}
