import * as tf from '@tensorflow/tfjs-core';
import { view } from '../autodiff/tape.js';
import { type Op, runOp } from './define-op.js';

const op: Op<{ a: tf.Tensor; b: tf.Tensor }, Record<string, never>> = {
  kernelName: 'LftAdd',
  saveInputs: [],
  forward: ({ a, b }) => tf.add(a, b),
  backward: (dy) => ({ a: () => view(dy), b: () => view(dy) }),
};

/**
 * a + b of one shape. Unlike `tf.add`, which broadcasts and therefore keeps both operands for their shapes, it keeps nothing for the
 * gradient: memory that a residual stream is full of.
 */
export function add<T extends tf.Tensor>(a: T, b: T): T {
  tf.util.assertShapesMatch(a.shape, b.shape, 'add: ');
  return runOp(op, { a, b }, {})[0] as T;
}
