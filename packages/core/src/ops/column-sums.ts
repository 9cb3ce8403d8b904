import * as tf from '@tensorflow/tfjs-core';

/** Sum over the rows: [N, D] to [D]. As a product with ones, since the backends' reduction over the first axis transposes first. */
export function columnSums(x: tf.Tensor): tf.Tensor1D {
  const [rows, columns] = x.shape as [number, number];
  return tf.tidy(() => tf.reshape(tf.matMul(tf.ones([1, rows]), x as tf.Tensor2D), [columns]));
}
