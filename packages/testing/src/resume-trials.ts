import { appendFileSync, cpSync, mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  type Adapter,
  type CausalModel,
  type DataSource,
  fineTune,
  type LayerSelector,
  type Optimizer,
  type TrainingOptions,
} from '@lft/core';
import { runRecord } from './run-record.js';

export interface ResumeTrialOptions {
  readonly model: CausalModel;
  readonly data: DataSource;
  /** New plugins, as a new process makes them. */
  readonly plugins: () => { adapter: Adapter; selector: LayerSelector; optimizer: Optimizer };
  readonly training: TrainingOptions & { readonly steps: number };
  /** Abort after these numbers of completed steps (0: before the first). Default: none, half way. */
  readonly abortAfter?: readonly number[];
  /** Crash after every n-th step. Default 1. */
  readonly crashEvery?: number;
}

export interface ResumeTrial {
  readonly what: string;
  readonly record: Record<string, string>;
}

/**
 * Trains once to the end; then again from every crash and every interruption. All records should be equal.
 *
 * A crash is a copy of the run folder as it is at that moment, with lines in the logs that no checkpoint knows of, half a line at the
 * end, and half a checkpoint. An interruption is an AbortSignal. Resuming a run that has ended changes nothing.
 */
export async function resumeTrials(
  options: ResumeTrialOptions,
): Promise<{ whole: ResumeTrial; trials: ResumeTrial[] }> {
  const { model, data, plugins, training, crashEvery = 1 } = options;
  const { abortAfter = [0, Math.ceil(training.steps / 2)] } = options;
  const folder = await mkdtemp(path.join(tmpdir(), 'lft-resume-'));
  const train = async (out: string, more: Partial<Parameters<typeof fineTune>[0]> = {}) => {
    const run = await fineTune({ model, data, ...plugins(), ...training, out, ...more });
    run.dispose();
  };
  const continued = async (what: string, out: string): Promise<ResumeTrial> => {
    await train(out, { resume: true });
    return { what, record: await runRecord(out) };
  };

  try {
    const crashes: [what: string, out: string][] = [];
    const whole = path.join(folder, 'whole');
    await train(whole, {
      onProgress(event) {
        if (event.kind !== 'step' || (event.step + 1) % crashEvery !== 0) return;
        const copy = path.join(folder, `crash-${event.step}`);
        cpSync(whole, copy, { recursive: true });
        appendFileSync(path.join(copy, 'metrics.jsonl'), '{"step":99,"lo');
        mkdirSync(path.join(copy, 'checkpoints', '.writing-step-000099'), { recursive: true });
        crashes.push([`crashed after step ${event.step}`, copy]);
      },
    });
    const trials: ResumeTrial[] = [];
    for (const [what, out] of crashes) trials.push(await continued(what, out));
    for (const steps of abortAfter) {
      const out = path.join(folder, `abort-${steps}`);
      const abort = new AbortController();
      if (steps === 0) abort.abort();
      await train(out, {
        signal: abort.signal,
        onProgress: (event) => event.kind === 'step' && event.step + 1 === steps && abort.abort(),
      });
      trials.push(await continued(`interrupted after ${steps} steps`, out));
    }
    const record = await runRecord(whole);
    trials.push(await continued('resumed after its end', whole));
    return { whole: { what: 'to the end', record }, trials };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
