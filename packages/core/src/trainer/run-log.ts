import * as tf from '@tensorflow/tfjs-core';
import type { Importance } from '../contracts/importance.js';
import type { UnitId } from '../contracts/layer-unit.js';
import type { ProgressEvent } from './progress.js';
import type { RunFolder } from './run-folder.js';
import { Throughput } from './throughput.js';

/** What a step that ended is known by. */
export interface StepRecord {
  readonly step: number;
  /** Mean loss per labelled token. */
  readonly loss: number;
  /** Labelled tokens. */
  readonly tokens: number;
  /** All tokens. */
  readonly processed: number;
  /** Of the gradient, before clipping. */
  readonly norm: number;
  readonly learningRate: number;
  readonly active: readonly UnitId[];
  readonly seconds: number;
  readonly probeSeconds: number;
  readonly optimizerBytes: number;
}

/** Tells of a run as it goes: lines in its folder, where there is one, and progress events. */
export class RunLog {
  private readonly throughput = new Throughput();
  private lastScores = '';

  constructor(
    private readonly folder: RunFolder | undefined,
    private readonly steps: number,
    readonly progress: (event: ProgressEvent) => void,
  ) {}

  /** After a resume: these scores are in the log already. */
  resumeFrom(importance: Importance | undefined): void {
    this.lastScores = scoresText(importance);
  }

  async step(record: StepRecord, importance: Importance | undefined): Promise<void> {
    const { step, loss, tokens, processed, norm, learningRate, active, seconds } = record;
    const { tokensPerSecond, secondsPerStep } = this.throughput.add(processed, seconds);
    await this.folder?.append('metrics', [{ step, loss, tokens, learningRate, gradientNorm: norm, active }]);
    await this.folder?.append('timings', [
      {
        step,
        seconds,
        probeSeconds: record.probeSeconds,
        tokensPerSecond: processed / seconds,
        rssBytes: process.memoryUsage.rss(),
        tensorBytes: tf.memory().numBytes,
        optimizerBytes: record.optimizerBytes,
      },
    ]);
    await this.importance(step, importance);
    this.progress({
      kind: 'step',
      step,
      steps: this.steps,
      loss,
      learningRate,
      gradientNorm: norm,
      tokens: processed,
      tokensPerSecond,
      secondsLeft: secondsPerStep * (this.steps - step - 1),
      active,
    });
  }

  /** A line when the scores changed. */
  async importance(step: number, importance: Importance | undefined): Promise<void> {
    const text = scoresText(importance);
    if (!importance || text === this.lastScores) return;
    this.lastScores = text;
    const { method, granularity, scores } = importance;
    await this.folder?.append('importance', [{ step, method, granularity, scores: Object.fromEntries(scores) }]);
  }

  async evaluation(step: number, validationLoss: number): Promise<void> {
    await this.folder?.append('metrics', [{ step, validationLoss }]);
  }
}

function scoresText(importance: Importance | undefined): string {
  return importance ? JSON.stringify([...importance.scores]) : '';
}
