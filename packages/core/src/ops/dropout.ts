import * as tf from '@tensorflow/tfjs-core';
import { type Op, runOp } from './define-op.js';

interface DropoutAttributes {
  readonly rate: number;
  readonly seed: number;
}

/** 1/(1−rate) where kept, 0 where dropped. Drawn again in the backward: a seed takes no memory. */
function mask(shape: number[], { rate, seed }: DropoutAttributes): tf.Tensor {
  const uniform = tf.randomUniform(shape, 0, 1, 'float32', seed);
  return tf.mul(tf.cast(tf.greaterEqual(uniform, rate), 'float32'), 1 / (1 - rate));
}

const op: Op<{ x: tf.Tensor }, DropoutAttributes> = {
  kernelName: 'LftDropout',
  saveInputs: [],
  forward: ({ x }, attributes) => tf.mul(x, mask(x.shape, attributes)),
  backward: (dy, _saved, attributes) => ({ x: () => tf.mul(dy, mask(dy.shape, attributes)) }),
};

/** Inverted dropout: values are dropped with probability `rate` and the others scaled by 1/(1−rate). The same seed drops the same values. */
export function dropout<T extends tf.Tensor>(x: T, rate: number, seed: number): T {
  return rate === 0 ? x : (runOp(op, { x }, { rate, seed })[0] as T);
}
