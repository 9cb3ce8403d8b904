import * as tf from '@tensorflow/tfjs-core';

/** Name under which a backend may register one call for all tensors: inputs none, attributes { tensors }, result [count]. */
const KERNEL = 'LftSquaredNorms';

/** Sum of the squares of every tensor, read once for all of them. */
export function squaredNorms(tensors: readonly tf.Tensor[]): Float32Array {
  if (tensors.length === 0) return new Float32Array(0);
  return tf.tidy(() => {
    const sums = tf.getKernel(KERNEL, tf.getBackend())
      ? (tf.engine().runKernel(KERNEL, {}, { tensors } as unknown as tf.NamedAttrMap) as tf.Tensor)
      : tf.stack(tensors.map((t) => tf.tidy(() => tf.sum(tf.square(t)))));
    return sums.dataSync() as Float32Array;
  });
}
