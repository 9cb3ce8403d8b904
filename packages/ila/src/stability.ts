import type { Json } from '@lft/core';

/** The windowed form of "ε-stable": the paper's speaks of all later steps, which no run can check. */
export interface StabilityRule {
  /** Number of steps in a window. */
  readonly window: number;
  /** ε as a share of the first window's mean loss. */
  readonly epsilon: number;
  /** Number of consecutive windows that must agree. */
  readonly patience: number;
}

/** Tells when training has become stable: |a_k − a_{k−1}| < ε for `patience` consecutive windows, a_k the mean loss of window k, ε = epsilon · a_0. */
export class Stability {
  private sum = 0;
  private count = 0;
  private first: number | null = null;
  private previous: number | null = null;
  private calm = 0;

  constructor(private readonly rule: StabilityRule) {}

  push(loss: number): void {
    this.sum += loss;
    this.count += 1;
    if (this.count < this.rule.window) return;
    const mean = this.sum / this.count;
    this.first ??= mean;
    if (this.previous !== null) {
      // A loss that is not a number makes the comparison false: the count starts again.
      this.calm = Math.abs(mean - this.previous) < this.rule.epsilon * this.first ? this.calm + 1 : 0;
    }
    this.previous = mean;
    this.sum = 0;
    this.count = 0;
  }

  get stable(): boolean {
    return this.calm >= this.rule.patience;
  }

  state(): Json {
    return { sum: this.sum, count: this.count, first: this.first, previous: this.previous, calm: this.calm };
  }

  restore(state: Json): void {
    Object.assign(this, state);
  }
}
