import * as tf from '@tensorflow/tfjs-core';
import { type Op, runOp } from './define-op.js';

type RotaryInputs = { x: tf.Tensor; cos: tf.Tensor3D; sin: tf.Tensor3D };

/** The matrix R [width, width] with (x₁, x₂)·R = (−x₂, x₁) for the two halves of a row. */
function halfTurn(width: number): tf.Tensor2D {
  const half = width / 2;
  const values = new Float32Array(width * width);
  for (let i = 0; i < half; i++) {
    values[i * width + i + half] = 1;
    values[(i + half) * width + i] = -1;
  }
  return tf.tensor2d(values, [width, width]);
}

/** (x₁, x₂) ↦ (−x₂, x₁) on the two halves of the last axis. As a product: wasm slices and joins rows one by one, in JavaScript. */
function rotateHalf(x: tf.Tensor3D): tf.Tensor3D {
  const [rows, heads, width] = x.shape;
  return tf.reshape(tf.matMul(tf.reshape(x, [rows * heads, width]), halfTurn(width)), [rows, heads, width]);
}

interface RotaryAttributes {
  /** 1 turns forward, −1 back: the gradient. */
  readonly direction: 1 | -1;
}

const op: Op<RotaryInputs, RotaryAttributes> = {
  kernelName: 'LftRotary',
  saveInputs: ['cos', 'sin'],
  forward({ x, cos, sin }, { direction }) {
    const [rows, , width] = cos.shape;
    const heads = tf.reshape(x, [rows, -1, width]) as tf.Tensor3D;
    const turned = tf.mul(rotateHalf(heads), sin);
    const kept = tf.mul(heads, cos);
    return tf.reshape(direction === 1 ? tf.add(kept, turned) : tf.sub(kept, turned), x.shape);
  },
  backward: (dy, [cos, sin], { direction }) => ({
    // A rotation's inverse turns the other way, and sin is equal on both halves.
    x: () =>
      runOp(
        op,
        { x: dy, cos: cos as tf.Tensor3D, sin: sin as tf.Tensor3D },
        { direction: direction === 1 ? -1 : 1 },
      )[0]!,
  }),
};

/**
 * Rotary position embedding on the two halves of each head (Su et al. 2021, in the layout of Hugging Face's Llama).
 * @param x        [N, H·D] or [N, H, D] f32, D even
 * @param cos, sin [N, 1, D] f32, the angle of each position, both halves alike
 * @returns of x's shape
 */
export function rotary<T extends tf.Tensor>(x: T, cos: tf.Tensor3D, sin: tf.Tensor3D): T {
  return runOp(op, { x, cos, sin }, { direction: 1 })[0] as T;
}
