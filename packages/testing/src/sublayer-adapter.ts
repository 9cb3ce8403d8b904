import { type Adapter, type Delta, type Gate, type Init, type ModuleSite, ops, Parameter } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';

/** y = x + g·(x·Wᵀ + b), x the output of attention or of the MLP. */
class SublayerDelta implements Delta {
  readonly parameters: readonly Parameter[];
  private readonly weight: Parameter;
  private readonly bias: Parameter;

  constructor({ path, out }: ModuleSite, init: Init) {
    const random = init.random('weight');
    const values = Float32Array.from({ length: out * out }, () => (0.1 * random.normal()) / Math.sqrt(out));
    this.weight = new Parameter(`${path}.adapter.weight`, tf.tensor2d(values, [out, out]));
    this.bias = new Parameter(`${path}.adapter.bias`, tf.zeros([out]));
    this.parameters = [this.weight, this.bias];
  }

  apply(x: tf.Tensor, base: (x: tf.Tensor) => tf.Tensor, gate: Gate): tf.Tensor {
    const output = base(x) as tf.Tensor2D;
    const change = ops.matmul(output, this.weight.variable as tf.Tensor2D, { transposeB: true });
    return tf.add(output, tf.mul(tf.add(change, this.bias.variable), gate));
  }
}

/**
 * The smallest adapter that acts on a module's output: a linear map at every sublayer of every block, and nothing outside the blocks.
 * It cannot be merged and has no format of its own. For tests: it is everything that {@link full} is not.
 */
export function sublayerAdapter(): Adapter {
  return {
    name: 'sublayer',
    options: {},
    attach: (site, init) => (site.kind === 'sublayer' ? new SublayerDelta(site, init) : undefined),
  };
}
