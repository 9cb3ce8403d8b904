import * as tf from '@tensorflow/tfjs-core';
import { holdBf16 } from '../ops/hold-bf16.js';

/** How the values of a parameter and of its optimizer's state are held. */
export type ParameterFormat = 'f32' | 'bf16';

/** A value that is made when it is needed: a frozen weight in f32 takes twice the memory of the weight. */
export interface LazyValue {
  readonly shape: readonly number[];
  /** The caller disposes it. The same value each time. */
  make(format?: ParameterFormat): tf.Tensor;
}

/**
 * A named trainable tensor. Its value is a tfjs Variable, so that the tape sees one identity while the optimizer replaces the
 * values. Owned by the {@link Delta} that made it; the adapted model disposes it.
 */
export class Parameter {
  readonly shape: readonly number[];
  private own: tf.Variable | undefined;
  private initial: LazyValue | undefined;

  /**
   * @param name    unique in the model: module path + tensor name, e.g. `model.layers.0.self_attn.q_proj.lora_A.weight`
   * @param initial f32. A tensor is copied, and disposed here; a lazy value is made when the parameter first trains
   * @param format  `bf16`: half the memory; the backend must train it, and the optimizer round it stochastically
   */
  constructor(
    readonly name: string,
    initial: tf.Tensor | LazyValue,
    readonly format: ParameterFormat = 'f32',
  ) {
    this.shape = initial.shape;
    if (initial instanceof tf.Tensor) this.hold(initial);
    else this.initial = initial;
  }

  /** Whether it has a tensor of its own. Without one it stands at its initial value, the frozen weight. */
  get made(): boolean {
    return this.own !== undefined;
  }

  /** Makes the tensor, where there is none yet: to train it or to change it. Otherwise ask for `value`. */
  get variable(): tf.Variable {
    return this.own ?? this.hold(this.initial!.make(this.format));
  }

  /** Replaces its values. */
  assign(values: tf.Tensor): void {
    tf.tidy(() => this.variable.assign(this.format === 'bf16' ? holdBf16(values) : values));
  }

  /** Its value, in a tensor that the caller disposes. Makes no variable. */
  value(): tf.Tensor {
    return this.own?.clone() ?? this.initial!.make();
  }

  get size(): number {
    return tf.util.sizeFromShape([...this.shape]);
  }

  /** Takes the value of a parameter that was just made, or its lack of one. */
  restart(fresh: Parameter): void {
    if (fresh.made) this.assign(fresh.variable);
    else {
      this.dispose();
      this.initial = fresh.initial;
    }
  }

  dispose(): void {
    this.own?.dispose();
    this.own = undefined;
  }

  private hold(value: tf.Tensor): tf.Variable {
    this.own = tf.tidy(() => tf.variable(value, false));
    value.dispose();
    return this.own;
  }
}
