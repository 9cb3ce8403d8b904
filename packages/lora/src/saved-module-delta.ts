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
    const parameter = this[tensor];
    // What has never trained is the frozen weight, whatever a number says about it; a gate that is a tensor wants its gradient.
    if (!parameter || gate === 0 || (!parameter.made && typeof gate === 'number')) return undefined;
    if (gate === 1) return parameter.variable;
    const frozen = base();
    const trained = parameter.made ? parameter.variable : frozen;
    return tf.add(frozen, tf.mul(gate, tf.sub(trained, frozen)));
  }

  merged(tensor: 'weight' | 'bias', base: tf.Tensor): tf.Tensor {
    const parameter = this[tensor];
    return (parameter?.made ? parameter.variable : base).clone();
  }
}
