import os from 'node:os';
import path from 'node:path';
import type { Dataset } from '../contracts/data-source.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import type { LayerUnit, UnitSet } from '../contracts/layer-unit.js';
import type { Optimizer } from '../contracts/optimizer.js';
import type { Parameter } from '../contracts/parameter.js';
import { LftError } from '../errors/lft-error.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import { learningRateFactor } from '../optimizer/schedule.js';
import { keyedRandom, keyedSeed } from '../random/keyed-random.js';
import { Checkpoints } from './checkpoint.js';
import { EngineProbe, parameterNorms, unitNorms } from './engine-probe.js';
import { evaluateLoss } from './evaluate.js';
import { OptimizerStates } from './optimizer-state.js';
import { NotFinite, ParameterUpdate } from './parameter-update.js';
import type { ProgressEvent } from './progress.js';
import type { RunFolder } from './run-folder.js';
import { RunLog } from './run-log.js';
import { selection } from './selection.js';
import type { ResolvedTraining } from './training-options.js';
import { TrainingPasses } from './training-passes.js';

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

/** Drives a run, step by step: probe → select → forward and backward → clip → optimizer → observe → log, evaluate, checkpoint. */
export class Trainer {
  readonly losses: number[] = [];
  readonly evaluations: Evaluation[] = [];
  readonly units: readonly LayerUnit[];
  private step = 0;
  private active: UnitSet = new Set();
  private readonly states: OptimizerStates;
  private readonly checkpoints: Checkpoints | undefined;
  private readonly log: RunLog;
  private readonly passes: TrainingPasses;
  private probeSeconds = 0;

  constructor(private readonly parts: TrainerParts) {
    const { model, data, selector, optimizer, training, folder } = parts;
    this.units = model.units(selector.granularity);
    const policy = training.optimizerState ?? selector.optimizerState ?? 'keep';
    const place = (name: string) =>
      folder
        ? path.join(folder.path, name)
        : path.join(os.tmpdir(), `lft-${name}-${process.pid}-${keyedSeed(Date.now(), name)}`);
    this.states = new OptimizerStates(optimizer, policy, this.units, place('offload'));
    this.checkpoints = folder && new Checkpoints(path.join(folder.path, 'checkpoints'), training.keepCheckpoints);
    this.log = new RunLog(folder, training.steps, parts.onProgress);
    this.passes = new TrainingPasses({
      model,
      examples: data.train,
      training,
      cacheFile: place('prefix-states'),
      notice: (message) => parts.onProgress({ kind: 'notice', step: this.step, message }),
    });
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
    this.log.resumeFrom(selector.importance());
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
      await this.passes.close();
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
    await this.log.importance(this.step, this.parts.selector.importance());
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
    const { model, optimizer, selector, training } = this.parts;
    const learningRate = optimizer.learningRate * learningRateFactor(this.step, training);
    const { step } = this;
    const update = new ParameterUpdate({
      trained,
      optimizer,
      adapter: model.adapter,
      clipNorm: training.clipNorm,
      learningRate,
      step: step + 1,
      steps: training.steps,
    });
    try {
      const pass = await this.passes.run(step, trained, update);
      const { norm, squares } = update.finish();
      this.observe(pass.loss, squares);
      const seconds = (performance.now() - started) / 1000;
      const { probeSeconds } = this;
      const record = { step, ...pass, norm, learningRate, active: [...this.active], seconds, probeSeconds };
      await this.log.step({ ...record, optimizerBytes: optimizer.bytes() }, selector.importance());
    } catch (error) {
      throw error instanceof NotFinite ? await this.notFinite(error.what, error.facts) : error;
    } finally {
      update.dispose();
    }
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
      recompute: (batch) => this.passes.recompute(batch),
      restart: async () => {
        model.reinitialize();
        this.passes.restarted();
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
    const chosen = selection(this.parts.selector, this.units, this.step);
    await this.states.switch(this.active, chosen);
    this.active = chosen;
    return this.units.filter(({ id }) => chosen.has(id)).flatMap(({ parameters }) => parameters);
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

  private async evaluate(): Promise<void> {
    const { model, data, training, onProgress } = this.parts;
    const examples = data.validation.slice(0, training.evaluationExamples);
    if (examples.length === 0) return;
    const { step } = this;
    const { loss } = await evaluateLoss(model, examples, {
      batchSize: training.batchSize,
      onBatch: (done, of) => onProgress({ kind: 'evaluate', step, done, of }),
    });
    if (!Number.isFinite(loss)) throw await this.notFinite(`the loss on held-out examples is ${loss}`, { loss });
    this.evaluations.push({ step, loss });
    await this.log.evaluation(step, loss);
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
