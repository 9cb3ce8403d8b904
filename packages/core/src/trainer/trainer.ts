import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { Dataset, Example } from '../contracts/data-source.js';
import type { Importance } from '../contracts/importance.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import type { LayerUnit, UnitSet } from '../contracts/layer-unit.js';
import type { Optimizer } from '../contracts/optimizer.js';
import type { Parameter } from '../contracts/parameter.js';
import { LftError } from '../errors/lft-error.js';
import { nearestName } from '../errors/nearest-name.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import { squaredNorms } from '../ops/squared-norms.js';
import { learningRateFactor } from '../optimizer/schedule.js';
import { keyedRandom, keyedSeed } from '../random/keyed-random.js';
import { type Batch, collate } from './batch.js';
import { Checkpoints } from './checkpoint.js';
import { DataOrder } from './data-order.js';
import { EngineProbe, parameterNorms, unitNorms } from './engine-probe.js';
import { evaluateLoss } from './evaluate.js';
import { lossGradients } from './loss-gradients.js';
import { OptimizerStates } from './optimizer-state.js';
import type { ProgressEvent } from './progress.js';
import type { RunFolder } from './run-folder.js';
import { Throughput } from './throughput.js';
import type { ResolvedTraining } from './training-options.js';
import { wantedParameters } from './wanted-parameters.js';

/** Memory for activations that are kept for the backward when `recompute` is `auto`: 512 MiB. */
const ACTIVATION_BYTES = 512 * 1024 * 1024;

export interface TrainerParts {
  readonly model: AdaptedModel;
  readonly data: Dataset;
  readonly selector: LayerSelector;
  readonly optimizer: Optimizer;
  readonly training: ResolvedTraining;
  readonly folder: RunFolder | undefined;
  readonly onProgress: (event: ProgressEvent) => void;
  readonly signal: AbortSignal | undefined;
}

export interface Evaluation {
  /** Number of completed optimizer steps. */
  readonly step: number;
  /** Mean loss per labelled token of the held-out examples. */
  readonly loss: number;
}

/** One step's losses and gradients, before the optimizer sees them. */
interface StepGradients {
  /** Mean loss per labelled token. */
  readonly loss: number;
  /** Labelled tokens. */
  readonly tokens: number;
  /** All tokens. */
  readonly processed: number;
  /** Sums over the labelled tokens, by parameter. */
  readonly gradients: Map<Parameter, tf.Tensor>;
}

/** Drives a run, step by step: probe → select → forward and backward → clip → optimizer → observe → log, evaluate, checkpoint. */
export class Trainer {
  readonly losses: number[] = [];
  readonly evaluations: Evaluation[] = [];
  readonly units: readonly LayerUnit[];
  private step = 0;
  private active: UnitSet = new Set();
  private lastImportance = '';
  private readonly order: DataOrder;
  private readonly states: OptimizerStates;
  private readonly checkpoints: Checkpoints | undefined;
  private readonly throughput = new Throughput();
  private probeSeconds = 0;

  constructor(private readonly parts: TrainerParts) {
    const { model, data, selector, optimizer, training, folder } = parts;
    this.units = model.units(selector.granularity);
    this.order = new DataOrder(data.train, training.seed, 'data-order');
    const policy = training.optimizerState ?? selector.optimizerState ?? 'keep';
    const offload = folder
      ? path.join(folder.path, 'offload')
      : path.join(os.tmpdir(), `lft-offload-${process.pid}-${keyedSeed(Date.now(), 'offload')}`);
    this.states = new OptimizerStates(optimizer, policy, this.units, offload);
    this.checkpoints = folder && new Checkpoints(path.join(folder.path, 'checkpoints'), training.keepCheckpoints);
  }

  get steps(): number {
    return this.parts.training.steps;
  }

  /** Number of completed optimizer steps. */
  get completed(): number {
    return this.step;
  }

  async setup(): Promise<void> {
    const { selector, model, training } = this.parts;
    await selector.setup({
      units: this.units,
      blocks: model.base.info.blocks,
      steps: training.steps,
      random: (purpose, ...keys) => keyedRandom(training.seed, 'selector', selector.name, purpose, ...keys),
    });
  }

  /** Goes back to the newest checkpoint, and cuts off what was logged after it. */
  async resume(): Promise<void> {
    const { model, optimizer, selector, folder } = this.parts;
    const state = await this.checkpoints!.restoreNewest(model, optimizer, this.states);
    await folder!.cutLogs(state?.logs ?? { metrics: 0, importance: 0, timings: 0 });
    if (!state) {
      // State that was offloaded before the run broke off belongs to steps that are now made again.
      await this.states.clear();
      return;
    }
    this.step = state.step;
    this.active = new Set(state.active);
    selector.restore(state.selector);
    model.adapter.restore?.(state.adapter);
    this.lastImportance = scoresText(selector.importance());
    for (const line of await folder!.readMetrics()) {
      if (line.loss !== undefined) this.losses.push(line.loss);
      if (line.validationLoss !== undefined) this.evaluations.push({ step: line.step, loss: line.validationLoss });
    }
  }

  /** @returns false when the signal stopped it before the last step */
  async run(): Promise<boolean> {
    try {
      return await this.allSteps();
    } finally {
      // Without a run folder nobody comes back to the state that lies on disk.
      if (!this.parts.folder) await this.states.removeOffloaded();
    }
  }

  private async allSteps(): Promise<boolean> {
    const { training, signal } = this.parts;
    // A checkpoint at the last step is written after everything else.
    if (this.step === training.steps) return true;
    if (this.step === 0 && this.evaluations.length === 0) await this.evaluate();
    while (this.step < training.steps) {
      if (signal?.aborted) {
        await this.checkpoint();
        return false;
      }
      await this.oneStep();
      if (this.due(training.evaluateEvery)) await this.evaluate();
      if (this.due(training.checkpointEvery)) await this.checkpoint();
      // Signals, timers and progress bars get their turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await this.probe();
    await this.logImportance(this.step);
    await this.evaluate();
    await this.checkpoint();
    return true;
  }

  private due(every: number): boolean {
    return every > 0 && this.step % every === 0 && this.step < this.parts.training.steps;
  }

  private async oneStep(): Promise<void> {
    const started = performance.now();
    await this.probe();
    const trained = await this.select();
    const { loss, tokens, processed, gradients } = this.forwardBackward(trained);
    const { norm, squares } = this.clip(gradients, tokens);
    if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
      tf.dispose([...gradients.values()]);
      const what = Number.isFinite(loss) ? `the gradient norm is ${norm}` : `the loss is ${loss}`;
      throw await this.notFinite(what, { loss, gradientNorm: norm });
    }
    const learningRate = this.parts.optimizer.learningRate * learningRateFactor(this.step, this.parts.training);
    this.update(gradients, learningRate);
    tf.dispose([...gradients.values()]);
    this.observe(loss, squares);
    await this.log({ loss, tokens, processed, norm, learningRate, seconds: (performance.now() - started) / 1000 });
  }

  /** Passes that the selector wants to make before it chooses. */
  private async probe(): Promise<void> {
    const { selector, model, data, training, onProgress } = this.parts;
    this.probeSeconds = 0;
    if (!selector.probe) return;
    const started = performance.now();
    const probe = new EngineProbe({
      model,
      data,
      units: this.units,
      seed: training.seed,
      batchSize: training.batchSize,
      recompute: (batch) => this.recompute(batch),
      restart: async () => {
        model.reinitialize();
        await this.states.clear();
      },
      onPass: (passes) => onProgress({ kind: 'probe', step: this.step, passes }),
    });
    try {
      await selector.probe(this.step, probe);
    } finally {
      probe.finish();
    }
    this.probeSeconds = (performance.now() - started) / 1000;
  }

  /** The parameters that train in this step. */
  private async select(): Promise<Parameter[]> {
    const { selector } = this.parts;
    const chosen = selector.select(this.step);
    const known = new Set(this.units.map(({ id }) => id));
    const unknown = [...chosen].find((id) => !known.has(id));
    if (unknown !== undefined) {
      const near = nearestName(unknown, known);
      throw new LftError(
        'selector-units',
        `selector ${selector.name} chose unit "${unknown}" in step ${this.step}, which this model does not have${near ? `; it has "${near}"` : ''}. Its units at granularity ${selector.granularity}: ${summary([...known])}`,
        { unit: unknown, step: this.step },
      );
    }
    if (chosen.size === 0) {
      throw new LftError(
        'selector-units',
        `selector ${selector.name} chose no unit in step ${this.step}: nothing would train. There is: ${summary([...known])}`,
        {
          step: this.step,
        },
      );
    }
    await this.states.switch(this.active, chosen);
    // A copy in forward order: a selector may go on using its own set.
    this.active = new Set(this.units.filter(({ id }) => chosen.has(id)).map(({ id }) => id));
    return this.units.filter(({ id }) => this.active.has(id)).flatMap(({ parameters }) => parameters);
  }

  /** All, none, or as many of the blocks as do not fit in the memory set aside for activations. */
  private recompute(batch: Batch): boolean | number {
    const { recompute } = this.parts.training;
    if (recompute !== 'auto') return recompute;
    const { base } = this.parts.model;
    const kept = Math.floor(ACTIVATION_BYTES / (batch.rows * batch.length * base.activationBytesPerToken));
    return Math.max(0, base.info.blocks - kept);
  }

  /** The examples of this step, in passes of at most `batchSize`. */
  private micro(): { batches: Batch[]; processed: number } {
    const { batchSize, gradientAccumulation } = this.parts.training;
    const pad = this.parts.model.base.info.padTokenId ?? 0;
    const first = this.step * batchSize * gradientAccumulation;
    const groups: Example[][] = Array.from({ length: gradientAccumulation }, (_, i) =>
      this.order.slice(first + i * batchSize, batchSize),
    );
    return {
      batches: groups.map((examples) => collate(examples, pad)),
      processed: groups.flat().reduce((sum, { ids }) => sum + ids.length, 0),
    };
  }

  private forwardBackward(trained: readonly Parameter[]): StepGradients {
    const { model, training } = this.parts;
    const wanted = wantedParameters(model, trained);
    const { batches, processed } = this.micro();
    let sums: tf.Tensor[] | undefined;
    let loss = 0;
    let tokens = 0;
    batches.forEach((batch, micro) => {
      if (batch.targets.length === 0) return;
      const pass = model.forward({ training: true, seed: keyedSeed(training.seed, 'dropout', this.step, micro) });
      const result = lossGradients({ model: model.base, pass, batch, wanted, recompute: this.recompute(batch) });
      loss += result.loss;
      tokens += batch.targets.length;
      const before = sums;
      sums = before ? before.map((sum, i) => tf.add(sum, result.gradients[i]!)) : result.gradients;
      if (before) tf.dispose([before, result.gradients]);
    });
    if (!sums) {
      throw new LftError(
        'labels-masked',
        `step ${this.step}: no token of the batch has a label, so there is nothing to learn. Look at the template and at maxLength, which may cut the responses off.`,
        {
          step: this.step,
        },
      );
    }
    const gradients = sums as tf.Tensor[];
    return {
      loss: loss / tokens,
      tokens,
      processed,
      gradients: new Map(trained.map((parameter, i) => [parameter, gradients[i]!])),
    };
  }

  /**
   * Turns sums into means over the labelled tokens and clips them by the global norm, in one product.
   * @returns the norm before clipping, and its square by parameter
   */
  private clip(gradients: Map<Parameter, tf.Tensor>, tokens: number): { norm: number; squares: Map<string, number> } {
    const { clipNorm } = this.parts.training;
    const names = [...gradients.keys()].map(({ name }) => name);
    const sums = squaredNorms([...gradients.values()]);
    const squares = new Map(names.map((name, i) => [name, sums[i]! / tokens ** 2]));
    const norm = Math.sqrt([...squares.values()].reduce((sum, square) => sum + square, 0));
    const factor = (clipNorm > 0 ? Math.min(1, clipNorm / (norm + 1e-6)) : 1) / tokens;
    for (const [parameter, gradient] of gradients) {
      gradients.set(parameter, tf.mul(gradient, factor));
      gradient.dispose();
    }
    return { norm, squares };
  }

  private update(gradients: ReadonlyMap<Parameter, tf.Tensor>, learningRate: number): void {
    const { optimizer, model, training } = this.parts;
    optimizer.step(
      [...gradients].map(([parameter, gradient]) => ({ parameter, gradient })),
      learningRate,
    );
    model.adapter.afterStep?.({
      step: this.step + 1,
      steps: training.steps,
      gradients: new Map([...gradients].map(([{ name }, gradient]) => [name, gradient])),
    });
  }

  private observe(loss: number, squares: ReadonlyMap<string, number>): void {
    const { selector, model } = this.parts;
    selector.observe?.({
      step: this.step,
      loss,
      gradientNorms: unitNorms(
        this.units.filter(({ id }) => this.active.has(id)),
        squares,
      ),
      parameterNorms: () => parameterNorms(model, this.units),
    });
    this.losses.push(loss);
    this.step += 1;
  }

  private async log(event: {
    loss: number;
    tokens: number;
    processed: number;
    norm: number;
    learningRate: number;
    seconds: number;
  }): Promise<void> {
    const { folder, onProgress, training } = this.parts;
    const step = this.step - 1;
    const active = [...this.active];
    const { tokensPerSecond, secondsPerStep } = this.throughput.add(event.processed, event.seconds);
    await folder?.append('metrics', [
      {
        step,
        loss: event.loss,
        tokens: event.tokens,
        learningRate: event.learningRate,
        gradientNorm: event.norm,
        active,
      },
    ]);
    await folder?.append('timings', [
      {
        step,
        seconds: event.seconds,
        probeSeconds: this.probeSeconds,
        tokensPerSecond: event.processed / event.seconds,
        rssBytes: process.memoryUsage.rss(),
        tensorBytes: tf.memory().numBytes,
        optimizerBytes: this.parts.optimizer.bytes(),
      },
    ]);
    await this.logImportance(step);
    onProgress({
      kind: 'step',
      step,
      steps: training.steps,
      loss: event.loss,
      learningRate: event.learningRate,
      gradientNorm: event.norm,
      tokens: event.processed,
      tokensPerSecond,
      secondsLeft: secondsPerStep * (training.steps - this.step),
      active,
    });
  }

  /** A line when the scores changed. */
  private async logImportance(step: number): Promise<void> {
    const importance = this.parts.selector.importance();
    const text = scoresText(importance);
    if (!importance || text === this.lastImportance) return;
    this.lastImportance = text;
    await this.parts.folder?.append('importance', [
      {
        step,
        method: importance.method,
        granularity: importance.granularity,
        scores: Object.fromEntries(importance.scores),
      },
    ]);
  }

  private async evaluate(): Promise<void> {
    const { model, data, training, folder, onProgress } = this.parts;
    const examples = data.validation.slice(0, training.evaluationExamples);
    if (examples.length === 0) return;
    const { step } = this;
    const { loss } = await evaluateLoss(model, examples, {
      batchSize: training.batchSize,
      onBatch: (done, of) => onProgress({ kind: 'evaluate', step, done, of }),
    });
    if (!Number.isFinite(loss)) throw await this.notFinite(`the loss on held-out examples is ${loss}`, { loss });
    this.evaluations.push({ step, loss });
    await folder?.append('metrics', [{ step, validationLoss: loss }]);
    onProgress({ kind: 'evaluate', step, done: examples.length, of: examples.length, loss });
  }

  private async checkpoint(): Promise<void> {
    const { folder, model, optimizer, selector, onProgress } = this.parts;
    if (!folder || !this.checkpoints) return;
    const state = {
      version: 1 as const,
      step: this.step,
      active: [...this.active],
      logs: await folder.logSizes(),
      selector: selector.state(),
      adapter: model.adapter.state?.() ?? null,
      optimizer: optimizer.state().json,
    };
    onProgress({
      kind: 'checkpoint',
      step: this.step,
      folder: await this.checkpoints.save(state, model, optimizer, this.states),
    });
  }

  private async notFinite(what: string, facts: Readonly<Record<string, number>>): Promise<LftError> {
    const saved = (await this.checkpoints?.list()) ?? [];
    // What was saved right before this step are the parameters that the loss came of.
    const suspect = saved.find((folder) => folder === this.checkpoints?.pathOf(this.step));
    const last = saved.filter((folder) => folder !== suspect).at(-1);
    const good = last
      ? `The last good checkpoint is ${last}.`
      : this.parts.folder
        ? 'There is no good checkpoint before it.'
        : 'Nothing was saved: the run has no folder.';
    const bad = suspect ? ` ${suspect} holds the parameters that this came of: remove it to go back further.` : '';
    return new LftError(
      'loss-not-finite',
      `step ${this.step}: ${what}, so the run stopped there. ${good}${bad} Lower the learning rate, or look at the data and at the weights for values that are not numbers.`,
      { step: this.step, ...facts, checkpoint: last },
    );
  }
}

function scoresText(importance: Importance | undefined): string {
  return importance ? JSON.stringify([...importance.scores]) : '';
}

function summary(names: readonly string[]): string {
  return names.length <= 12
    ? names.join(', ')
    : `${names.slice(0, 6).join(', ')}, … ${names.slice(-4).join(', ')} (${names.length})`;
}
