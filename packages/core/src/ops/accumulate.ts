import * as tf from '@tensorflow/tfjs-core';
import { runIfFused } from './define-op.js';

/** sum + part, for a running sum of gradients: both are used up. Backends may add in place. */
export function accumulate(sum: tf.Tensor, part: tf.Tensor): tf.Tensor {
  const total = runIfFused('LftAccumulate', { sum, part })?.[0] ?? tf.add(sum, part);
  tf.dispose([sum, part]);
  return total;
}
