import * as tf from '@tensorflow/tfjs-core';
import { type Op, runOp } from './define-op.js';

type RotaryInputs = { x: tf.Tensor3D; cos: tf.Tensor3D; sin: tf.Tensor3D };

/** (x₁, x₂) ↦ (−x₂, x₁) on the two halves of the last axis. */
function rotateHalf(x: tf.Tensor3D): tf.Tensor3D {
  const half = x.shape[2] / 2;
  const first = tf.slice(x, [0, 0, 0], [-1, -1, half]);
  const second = tf.slice(x, [0, 0, half], [-1, -1, half]);
  return tf.concat([tf.neg(second), first], 2);
}

const op: Op<RotaryInputs, Record<string, never>> = {
  kernelName: 'LftRotary',
  saveInputs: ['cos', 'sin'],
  forward: ({ x, cos, sin }) => tf.add(tf.mul(x, cos), tf.mul(rotateHalf(x), sin)),
  backward: (dy, [cos, sin]) => ({
    // A rotation's inverse turns the other way, and sin is equal on both halves.
    x: () => tf.sub(tf.mul(dy, cos!), tf.mul(rotateHalf(dy as tf.Tensor3D), sin!)),
  }),
};

/**
 * Rotary position embedding on the two halves of each head (Su et al. 2021, in the layout of Hugging Face's Llama).
 * @param x        [N, H, D] f32, D even
 * @param cos, sin [N, H, D] f32, the angle of each position, both halves alike
 */
export function rotary(x: tf.Tensor3D, cos: tf.Tensor3D, sin: tf.Tensor3D): tf.Tensor3D {
  return runOp(op, { x, cos, sin }, {})[0] as tf.Tensor3D;
}
