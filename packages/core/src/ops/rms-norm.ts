import * as tf from '@tensorflow/tfjs-core';
import { columnSums } from './column-sums.js';
import { type Op, runIfFused, runOnto, runOp } from './define-op.js';

type RmsNormInputs = { x: tf.Tensor2D; weight: tf.Tensor1D };
interface RmsNormAttributes {
  readonly epsilon: number;
  /** How a backend that can hold bf16 is to hold the result, which products read again and again. */
  readonly result: 'f32' | 'bf16';
}

const op: Op<RmsNormInputs, RmsNormAttributes> = {
  kernelName: 'LftRmsNorm',
  saveInputs: ['x', 'weight'],
  saveOutputs: [false, true],
  forward({ x, weight }, { epsilon }) {
    const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
    return [tf.mul(tf.mul(x, inverse), weight), inverse];
  },
  backward(dy, [x, weight, inverse]) {
    // With x̂ = x·inverse and g = dy∘w: dx = inverse·(g − x̂·mean(g∘x̂)), dw = Σ_n dy∘x̂.
    return {
      x: (sum) => {
        const fused = runOnto(sum, 'LftRmsNormInputGradient', { dy, x: x!, weight: weight!, inverse: inverse! });
        if (fused) return fused[0]!;
        const normalized = tf.mul(x!, inverse!);
        const g = tf.mul(dy, weight!);
        const mean = tf.mean(tf.mul(g, normalized), -1, true);
        return tf.mul(tf.sub(g, tf.mul(normalized, mean)), inverse!);
      },
      weight: () =>
        runIfFused('LftRmsNormWeightGradient', { dy, x: x!, inverse: inverse! })?.[0] ??
        columnSums(tf.mul(dy, tf.mul(x!, inverse!))),
    };
  },
};

/**
 * y = x / sqrt(mean(x²) + ε) ∘ w, row by row (Zhang & Sennrich 2019, as Llama uses it).
 * @param x      [N, D] f32
 * @param weight [D] f32
 * @param result `bf16` where the result goes into products with bf16 weights: backends that can hold bf16 then round it once, here
 * @returns [N, D]
 */
export function rmsNorm(
  x: tf.Tensor2D,
  weight: tf.Tensor1D,
  epsilon: number,
  result: 'f32' | 'bf16' = 'f32',
): tf.Tensor2D {
  return runOp(op, { x, weight }, { epsilon, result })[0] as tf.Tensor2D;
}
