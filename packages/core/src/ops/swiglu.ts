import * as tf from '@tensorflow/tfjs-core';
import { type Op, runIfFused, runOp } from './define-op.js';

type SwigluInputs = { gate: tf.Tensor; up: tf.Tensor };

const op: Op<SwigluInputs, Record<string, never>> = {
  kernelName: 'LftSwiglu',
  saveInputs: ['gate', 'up'],
  forward: ({ gate, up }) => tf.mul(tf.mul(gate, tf.sigmoid(gate)), up),
  backward(dy, [gate, up]) {
    const fused = runIfFused('LftSwigluGradients', { dy, gate: gate!, up: up! });
    if (fused) return { gate: () => fused[0]!, up: () => fused[1]! };
    return {
      // silu'(z) = σ(z)·(1 + z·(1 − σ(z)))
      gate: () => {
        const sigmoid = tf.sigmoid(gate!);
        const slope = tf.mul(sigmoid, tf.add(tf.mul(gate!, tf.sub(1, sigmoid)), 1));
        return tf.mul(tf.mul(dy, up!), slope);
      },
      up: () => tf.mul(dy, tf.mul(gate!, tf.sigmoid(gate!))),
    };
  },
};

/**
 * silu(gate) ∘ up, the gated activation of Llama's MLP (Shazeer 2020).
 * @param gate, up [N, F] f32
 */
export function swiglu(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D {
  return runOp(op, { gate, up }, {})[0] as tf.Tensor2D;
}
