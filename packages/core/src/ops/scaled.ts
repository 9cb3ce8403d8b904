import * as tf from '@tensorflow/tfjs-core';
import { runIfFused } from './define-op.js';

/** x·factor for a scalar, of a gradient that is not read again: backends may multiply in its memory. */
export function scaled<T extends tf.Tensor>(x: T, factor: tf.Tensor): T {
  return (runIfFused('LftScaled', { x, factor })?.[0] ?? tf.mul(x, factor)) as T;
}
