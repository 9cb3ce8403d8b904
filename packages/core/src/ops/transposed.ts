import * as tf from '@tensorflow/tfjs-core';

/** Xᵀ of a matrix, typed as one. */
export function transposed(x: tf.Tensor2D): tf.Tensor2D {
  return tf.transpose(x) as tf.Tensor2D;
}
