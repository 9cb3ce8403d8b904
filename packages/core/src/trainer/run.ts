import path from 'node:path';
import { saveAdapter } from '../adapters/save-adapter.js';
import type { Dataset } from '../contracts/data-source.js';
import type { Importance } from '../contracts/importance.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import type { LayerUnit } from '../contracts/layer-unit.js';
import type { Optimizer } from '../contracts/optimizer.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import { writeImportance } from '../selectors/importance-file.js';
import type { Evaluation, Trainer } from './trainer.js';

/** A run that ended: the trained model, and what was seen on the way. */
export class Run {
  /** Mean loss per labelled token of every step, those before a resume included. */
  readonly losses: readonly number[];
  /** Losses on held-out examples: before, between (when asked for) and after. */
  readonly evaluations: readonly Evaluation[];
  readonly units: readonly LayerUnit[];
  /** Completed steps. */
  readonly steps: number;

  constructor(
    readonly model: AdaptedModel,
    private readonly selector: LayerSelector,
    private readonly optimizer: Optimizer,
    trainer: Trainer,
    readonly data: Dataset,
    /** The signal stopped it before its last step. */
    readonly interrupted: boolean,
    /** The seed that its random choices were keyed by. */
    readonly seed: number,
  ) {
    this.losses = trainer.losses;
    this.evaluations = trainer.evaluations;
    this.units = trainer.units;
    this.steps = trainer.completed;
  }

  importance(): Importance | undefined {
    return this.selector.importance();
  }

  /** Writes `importance.json` into the folder, when the selector has a ranking. @returns its path */
  async writeImportance(folder: string): Promise<string | undefined> {
    const importance = this.importance();
    if (!importance) return undefined;
    const file = path.join(folder, 'importance.json');
    const { source, fingerprint } = this.model.base.info;
    await writeImportance(file, importance, {
      model: { source, fingerprint },
      adapter: { name: this.model.adapter.name },
      data: { fingerprint: this.data.fingerprint },
      seed: this.seed,
      step: this.steps,
      units: this.units,
    });
    return file;
  }

  /** Writes the adapter into a folder, in its own format (PEFT's for LoRA). @throws LftError output-not-writable */
  save(folder: string): Promise<void> {
    return saveAdapter(this.model, folder);
  }

  /** Frees the adapter's and the optimizer's tensors. The model stays the caller's. */
  dispose(): void {
    this.model.dispose();
    this.optimizer.dispose();
  }
}
