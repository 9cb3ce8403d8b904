import { type Delta, type Gate, ops, type Parameter } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { scaled } from './lora-delta.js';

/**
 * LoRA at an embedding: y = base(ids) + g·s·Aᵀ[ids]·Bᵀ. As in PEFT there is no dropout here: ids have nothing to drop.
 */
export class LoraEmbeddingDelta implements Delta {
  readonly parameters: readonly Parameter[];

  /**
   * @param a     [r, V] f32, named `<path>.lora_embedding_A`
   * @param b     [D, r] f32, named `<path>.lora_embedding_B`
   * @param scale s
   */
  constructor(
    private readonly a: Parameter,
    private readonly b: Parameter,
    private readonly scale: number,
  ) {
    this.parameters = [a, b];
  }

  /** @param ids [N] int32 */
  apply(ids: tf.Tensor, base: (ids: tf.Tensor) => tf.Tensor, gate: Gate): tf.Tensor {
    if (gate === 0) return base(ids);
    const low = ops.embedding(tf.transpose(this.a.variable) as tf.Tensor2D, ids as tf.Tensor1D);
    const update = ops.matmul(scaled(low, this.scale, gate), this.b.variable as tf.Tensor2D, { transposeB: true });
    return ops.add(base(ids), update);
  }

  /** W + s·(B·A)ᵀ, in f32. */
  merged(tensor: 'weight' | 'bias', base: tf.Tensor): tf.Tensor {
    if (tensor === 'bias') return base.clone();
    return tf.tidy(() => {
      const update = ops.matmul(this.a.variable as tf.Tensor2D, this.b.variable as tf.Tensor2D, {
        transposeA: true,
        transposeB: true,
      });
      return tf.add(base, tf.mul(update, this.scale));
    });
  }
}
