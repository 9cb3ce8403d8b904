import * as tf from '@tensorflow/tfjs-core';
import type { Adapter } from '../contracts/adapter.js';
import type { Optimizer } from '../contracts/optimizer.js';
import type { Parameter } from '../contracts/parameter.js';
import { accumulate } from '../ops/accumulate.js';
import { squaredNorms } from '../ops/squared-norms.js';

/** A loss or a gradient that is not a number: the step must not go on. */
export class NotFinite extends Error {
  constructor(
    readonly what: string,
    readonly facts: Readonly<Record<string, number>>,
  ) {
    super(what);
  }
}

export interface ParameterUpdateOptions {
  /** The parameters that train, in forward order. */
  readonly trained: readonly Parameter[];
  readonly optimizer: Optimizer;
  readonly adapter: Adapter;
  /** Largest global norm; 0 does not clip. */
  readonly clipNorm: number;
  readonly learningRate: number;
  /** Number of completed steps with this one, and of all. */
  readonly step: number;
  readonly steps: number;
}

/**
 * What becomes of one step's gradients: they are clipped by their global norm and given to the optimizer, all together. Where nothing
 * needs them together (no clipping, no `afterStep` of the adapter), each is applied and freed as soon as it is whole.
 */
export class ParameterUpdate {
  private readonly gradients = new Map<Parameter, tf.Tensor>();
  private readonly squares = new Map<string, number>();
  private readonly together: boolean;

  constructor(private readonly options: ParameterUpdateOptions) {
    this.together = options.clipNorm > 0 || options.adapter.afterStep !== undefined;
  }

  /**
   * Adds a gradient of the mean loss, or of a micro-batch's part in it, and takes it over.
   * @param loss  that it is of
   * @param whole no other micro-batch adds to it
   * @throws NotFinite
   */
  add(parameter: Parameter, gradient: tf.Tensor, loss: number, whole: boolean): void {
    const before = this.gradients.get(parameter);
    this.gradients.set(parameter, before ? tf.keep(accumulate(before, gradient)) : gradient);
    if (!Number.isFinite(loss)) throw new NotFinite(`the loss is ${loss}`, { loss });
    if (whole && !this.together) this.applyWhole(parameter);
  }

  private applyWhole(parameter: Parameter): void {
    const moved = this.squares.size;
    this.measure([parameter]);
    if (!Number.isFinite(this.squares.get(parameter.name))) {
      const others =
        moved === 0 ? '' : ` (${moved} parameters above it have moved in this step already, and are not saved)`;
      throw new NotFinite(`the gradient of ${parameter.name} is not finite${others}`, { gradientNorm: this.norm });
    }
    this.move([parameter]);
    this.free([parameter]);
  }

  /**
   * Applies what is not applied yet.
   * @returns the global norm before clipping, and its square by parameter
   * @throws NotFinite before any parameter has changed, where all are applied together
   */
  finish(): { norm: number; squares: ReadonlyMap<string, number> } {
    const { trained, adapter, clipNorm, step, steps } = this.options;
    if (this.together) {
      this.measure(trained);
      if (!Number.isFinite(this.norm)) {
        throw new NotFinite(`the gradient norm is ${this.norm}`, { gradientNorm: this.norm });
      }
      if (clipNorm > 0) this.scale(Math.min(1, clipNorm / (this.norm + 1e-6)));
      this.move(trained);
      const byName = new Map(trained.map((parameter) => [parameter.name, this.gradients.get(parameter)!]));
      adapter.afterStep?.({ step, steps, gradients: byName });
      this.free(trained);
    }
    return { norm: this.norm, squares: this.squares };
  }

  /** Frees the gradients that were not applied. */
  dispose(): void {
    this.free([...this.gradients.keys()]);
  }

  private measure(parameters: readonly Parameter[]): void {
    const sums = squaredNorms(parameters.map((parameter) => this.gradients.get(parameter)!));
    for (const [i, { name }] of parameters.entries()) this.squares.set(name, sums[i]!);
  }

  /** Summed in forward order, so that the order in which gradients came does not show. */
  private get norm(): number {
    return Math.sqrt(this.options.trained.reduce((sum, { name }) => sum + (this.squares.get(name) ?? 0), 0));
  }

  private scale(factor: number): void {
    if (factor === 1) return;
    for (const [parameter, gradient] of this.gradients) {
      this.gradients.set(parameter, tf.mul(gradient, factor));
      gradient.dispose();
    }
  }

  private move(parameters: readonly Parameter[]): void {
    const updates = parameters.map((parameter) => ({ parameter, gradient: this.gradients.get(parameter)! }));
    this.options.optimizer.step(updates, this.options.learningRate);
  }

  private free(parameters: readonly Parameter[]): void {
    for (const parameter of parameters) {
      this.gradients.get(parameter)?.dispose();
      this.gradients.delete(parameter);
    }
  }
}
