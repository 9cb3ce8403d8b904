import type { Delta, Gate, Parameter } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';

/** A module trained in full and stored in the adapter (`modulesToSave`): its weight is W + g·(W' − W), W' trained. */
export class SavedModuleDelta implements Delta {
  readonly parameters: readonly Parameter[];

  /**
   * @param weight shaped as the module's, named `<path>.weight`
   * @param bias   [out], named `<path>.bias`, where the module has one
   */
  constructor(
    private readonly weight: Parameter,
    private readonly bias: Parameter | undefined,
  ) {
    this.parameters = bias ? [weight, bias] : [weight];
  }

  reweight(tensor: 'weight' | 'bias', base: () => tf.Tensor, gate: Gate): tf.Tensor | undefined {
    const trained = this[tensor]?.variable;
    if (!trained || gate === 0) return undefined;
    if (gate === 1) return trained;
    const frozen = base();
    return tf.add(frozen, tf.mul(gate, tf.sub(trained, frozen)));
  }

  merged(tensor: 'weight' | 'bias', base: tf.Tensor): tf.Tensor {
    return (this[tensor]?.variable ?? base).clone();
  }
}
