import type { Gates, Probe, ProbeBatch, ProbeBatchRequest, ProbeGates, UnitId } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';

/** Something that a selector asked the model, and the answer. */
export interface Question {
  /** The method and its arguments, as text. */
  readonly asked: string;
  readonly answer: unknown;
}

interface SavedTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Passes compute; the other calls only look or set back. */
const PASSES = ['loss', 'gateGradients', 'hiddenStates', 'gradientNorms'];

export function isPass({ asked }: Question): boolean {
  return PASSES.some((method) => asked.startsWith(`${method} `));
}

/** Names batches by what they were asked with, so that a question is the same text in the recorded and in the replayed run. */
class BatchNames {
  private readonly names = new Map<unknown, string>();

  name(batch: ProbeBatch, request: ProbeBatchRequest): ProbeBatch {
    this.names.set(batch, `batch of ${request.size} of ${request.split ?? 'train'}, number ${request.index}`);
    return batch;
  }

  question(method: string, ...args: readonly unknown[]): string {
    const text = (value: unknown): unknown => {
      if (this.names.has(value)) return this.names.get(value);
      if (value instanceof Map) return [...value];
      return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
    };
    return `${method} ${JSON.stringify(args, (_, value) => text(value))}`;
  }
}

const NOTHING = () => undefined;

/** Not structuredClone: under jest that gives maps and arrays of another realm, which `instanceof` does not know. */
function copied(answer: unknown): unknown {
  if (answer instanceof Map) return new Map(answer);
  if (answer instanceof Float32Array) return answer.slice();
  if (Array.isArray(answer)) return answer.map(copied);
  if (typeof answer !== 'object' || answer === null) return answer;
  return Object.fromEntries(Object.entries(answer).map(([key, value]) => [key, copied(value)]));
}

/** Passes a selector's questions on to a probe and writes them down with the answers. */
export class RecordingProbe implements Probe {
  readonly questions: Question[] = [];
  restarted = false;
  private readonly names = new BatchNames();

  constructor(
    private readonly probe: Probe,
    /** Called before every question; may throw, as a pass that fails does. */
    private readonly before: (question: string) => void = NOTHING,
  ) {}

  private async ask<T>(
    asked: string,
    answer: () => Promise<T>,
    copy: (value: T) => unknown = (value) => value,
  ): Promise<T> {
    this.before(asked);
    const value = await answer();
    this.questions.push({ asked, answer: copy(value) });
    return value;
  }

  batch(request: ProbeBatchRequest): ProbeBatch {
    const asked = this.names.question('batch', request);
    this.before(asked);
    const batch = this.probe.batch(request);
    this.questions.push({ asked, answer: { examples: batch.examples, tokens: batch.tokens } });
    return this.names.name(batch, request);
  }

  loss(batch: ProbeBatch, gates?: ProbeGates): Promise<number> {
    return this.ask(this.names.question('loss', batch, gates ?? {}), () => this.probe.loss(batch, gates));
  }

  gateGradients(batch: ProbeBatch, gates: Gates): Promise<{ loss: number; gradients: Map<UnitId, number> }> {
    return this.ask(
      this.names.question('gateGradients', batch, gates),
      () => this.probe.gateGradients(batch, gates),
      copied,
    );
  }

  hiddenStates(batch: ProbeBatch): Promise<tf.Tensor[]> {
    return this.ask(
      this.names.question('hiddenStates', batch),
      () => this.probe.hiddenStates(batch),
      (states) => states.map((state) => ({ shape: state.shape, values: state.dataSync().slice() })),
    );
  }

  gradientNorms(batch: ProbeBatch): Promise<Map<UnitId, number>> {
    return this.ask(this.names.question('gradientNorms', batch), () => this.probe.gradientNorms(batch), copied);
  }

  parameterNorms(): Map<UnitId, number> {
    const asked = this.names.question('parameterNorms');
    this.before(asked);
    const norms = this.probe.parameterNorms();
    this.questions.push({ asked, answer: copied(norms) });
    return norms;
  }

  restart(): Promise<void> {
    this.restarted = true;
    return this.ask(this.names.question('restart'), () => this.probe.restart());
  }
}

/** Answers the questions of a recorded probe call again, without a model. Another question than the recorded one is an error. */
export class ReplayedProbe implements Probe {
  private at = 0;
  private readonly names = new BatchNames();
  private readonly states: tf.Tensor[] = [];

  constructor(
    private readonly step: number,
    private readonly questions: readonly Question[],
  ) {}

  private answer(asked: string): unknown {
    const recorded = this.questions[this.at];
    if (recorded?.asked !== asked) {
      throw new Error(
        `step ${this.step}: the selector asks for ${asked}, where in the recorded run it asked for ${recorded?.asked ?? 'nothing more'}`,
      );
    }
    this.at += 1;
    return copied(recorded.answer);
  }

  /** @throws Error when questions of the recorded call were not asked */
  finish(): void {
    tf.dispose(this.states.splice(0));
    const missing = this.questions[this.at];
    if (missing) throw new Error(`step ${this.step}: in the recorded run the selector asked for ${missing.asked} too`);
  }

  batch(request: ProbeBatchRequest): ProbeBatch {
    return this.names.name(this.answer(this.names.question('batch', request)) as ProbeBatch, request);
  }

  async loss(batch: ProbeBatch, gates?: ProbeGates): Promise<number> {
    return this.answer(this.names.question('loss', batch, gates ?? {})) as number;
  }

  async gateGradients(batch: ProbeBatch, gates: Gates) {
    const answer = this.answer(this.names.question('gateGradients', batch, gates));
    return answer as { loss: number; gradients: Map<UnitId, number> };
  }

  async hiddenStates(batch: ProbeBatch): Promise<tf.Tensor[]> {
    const saved = this.answer(this.names.question('hiddenStates', batch)) as SavedTensor[];
    const states = saved.map(({ shape, values }) => tf.tensor(values, [...shape]));
    this.states.push(...states);
    return states;
  }

  async gradientNorms(batch: ProbeBatch): Promise<Map<UnitId, number>> {
    return this.answer(this.names.question('gradientNorms', batch)) as Map<UnitId, number>;
  }

  parameterNorms(): Map<UnitId, number> {
    return this.answer(this.names.question('parameterNorms')) as Map<UnitId, number>;
  }

  async restart(): Promise<void> {
    this.answer(this.names.question('restart'));
  }
}
