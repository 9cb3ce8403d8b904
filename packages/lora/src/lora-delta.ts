import { type Delta, type Gate, ops, type Parameter, type Pass } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * LoRA at a linear module: y = base(x) + g·s·(dropout(x)·Aᵀ)·Bᵀ (arXiv 2106.09685, eq. 3).
 */
export class LoraDelta implements Delta {
  readonly parameters: readonly Parameter[];

  /**
   * @param a       [r, in] f32, named `<path>.lora_A.weight`
   * @param b       [out, r] f32, named `<path>.lora_B.weight`
   * @param scale   s
   * @param dropout share of the values of x that the update does not see while training
   */
  constructor(
    private readonly a: Parameter,
    private readonly b: Parameter,
    private readonly scale: number,
    private readonly dropout: number,
  ) {
    this.parameters = [a, b];
  }

  /** @param x [N, in] f32 */
  apply(x: tf.Tensor, base: (x: tf.Tensor) => tf.Tensor, gate: Gate, pass: Pass): tf.Tensor {
    if (gate === 0) return base(x);
    const seen = pass.training && this.dropout > 0 ? ops.dropout(x, this.dropout, pass.seed(this.a.name)) : x;
    const [a, b] = [this.a.variable as tf.Tensor2D, this.b.variable as tf.Tensor2D];
    const y = base(x) as tf.Tensor2D;
    if (typeof gate === 'number') return ops.lowRankUpdate(y, seen as tf.Tensor2D, a, b, gate * this.scale);
    const low = ops.matmul(seen as tf.Tensor2D, a, { transposeB: true });
    return ops.add(y, ops.matmul(scaled(low, this.scale, gate), b, { transposeB: true }));
  }

  /** W + s·B·A, in f32. */
  merged(tensor: 'weight' | 'bias', base: tf.Tensor): tf.Tensor {
    if (tensor === 'bias') return base.clone();
    return tf.tidy(() => {
      const update = ops.matmul(this.b.variable as tf.Tensor2D, this.a.variable as tf.Tensor2D);
      return tf.add(base, tf.mul(update, this.scale));
    });
  }
}

/**
 * g·s·low. The factor goes to the tensor of width r, the smallest of the product; a number is one multiplication, and none when it is 1.
 * @param low [N, r] f32
 */
export function scaled(low: tf.Tensor2D, scale: number, gate: Gate): tf.Tensor2D {
  if (typeof gate === 'number') return gate * scale === 1 ? low : tf.mul(low, gate * scale);
  return tf.mul(low, tf.mul(gate, scale));
}
