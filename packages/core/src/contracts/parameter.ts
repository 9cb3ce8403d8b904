import * as tf from '@tensorflow/tfjs-core';

/**
 * A named trainable tensor. Its value is a tfjs Variable, so that the tape sees one identity while the optimizer replaces the
 * values. Owned by the {@link Delta} that made it; the adapted model disposes it.
 */
export class Parameter {
  readonly variable: tf.Variable;

  /**
   * @param name unique in the model: module path + tensor name, e.g. `model.layers.0.self_attn.q_proj.lora_A.weight`
   * @param value initial f32 value; copied, and disposed here
   */
  constructor(
    readonly name: string,
    value: tf.Tensor,
  ) {
    this.variable = tf.tidy(() => tf.variable(value, false));
    value.dispose();
  }

  get shape(): readonly number[] {
    return this.variable.shape;
  }

  get size(): number {
    return this.variable.size;
  }

  dispose(): void {
    this.variable.dispose();
  }
}
