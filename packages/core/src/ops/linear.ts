import * as tf from '@tensorflow/tfjs-core';
import type { FrozenWeight } from '../weights/frozen-weight.js';
import { type Op, runIfFused, runOp } from './define-op.js';
import { matmul } from './matmul.js';

type LinearInputs = { x: tf.Tensor2D };
interface LinearAttributes {
  readonly weight: FrozenWeight;
}

const frozenLinear: Op<LinearInputs, LinearAttributes> = {
  kernelName: 'LftLinear',
  saveInputs: [],
  forward({ x }, { weight }) {
    const parts = weight
      .blocks()
      .map(([begin, end]) => tf.tidy(() => tf.matMul(x, weight.rowBlockTransposed(begin, end))));
    return parts.length === 1 ? parts[0]! : tf.concat(parts, 1);
  },
  backward(dy, _saved, { weight }) {
    return {
      // dX = dY·W, summed over blocks of W's rows; W itself is frozen and gets no gradient.
      x: () => {
        const fused = runIfFused('LftLinearInputGradient', { dy }, { weight });
        if (fused) return fused[0]!;
        const d = dy as tf.Tensor2D;
        const blocks = weight.blocks();
        if (blocks.length === 1) return tf.tidy(() => tf.matMul(d, weight.rowBlock(0, weight.rows)));
        return blocks.reduce<tf.Tensor2D>(
          (sum, [begin, end]) =>
            tf.tidy(() => {
              const part = tf.matMul(tf.slice(d, [0, begin], [-1, end - begin]), weight.rowBlock(begin, end));
              return tf.add(sum, part);
            }),
          tf.zeros([d.shape[0], weight.columns]),
        );
      },
    };
  },
};

/**
 * y = x·Wᵀ + b. A frozen W gets no gradient; a trained one (a tensor) does.
 * @param x      [N, in] f32
 * @param weight [out, in]
 * @param bias   [out] f32
 * @returns [N, out] f32
 */
export function linear(x: tf.Tensor2D, weight: FrozenWeight | tf.Tensor2D, bias?: tf.Tensor): tf.Tensor2D {
  const y =
    weight instanceof tf.Tensor
      ? matmul(x, weight, { transposeB: true })
      : (runOp(frozenLinear, { x }, { weight })[0] as tf.Tensor2D);
  return bias ? tf.add(y, bias) : y;
}
