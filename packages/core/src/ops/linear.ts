import * as tf from '@tensorflow/tfjs-core';
import type { FrozenWeight } from '../weights/frozen-weight.js';
import { type Op, runOnto, runOp } from './define-op.js';
import { times, timesTransposed } from './frozen-products.js';
import { matmul } from './matmul.js';

type LinearInputs = { x: tf.Tensor2D };
interface LinearAttributes {
  readonly weight: FrozenWeight;
  /** `f32` where a result beside a bf16 weight must not be rounded: logits. */
  readonly result?: 'f32';
}

const frozenLinear: Op<LinearInputs, LinearAttributes> = {
  kernelName: 'LftLinear',
  saveInputs: [],
  forward: ({ x }, { weight }) => timesTransposed(x, weight),
  backward(dy, _saved, { weight }) {
    return {
      // dX = dY·W; W itself is frozen and gets no gradient.
      x: (sum) => runOnto(sum, 'LftLinearInputGradient', { dy }, { weight })?.[0] ?? times(dy as tf.Tensor2D, weight),
    };
  },
};

/**
 * y = x·Wᵀ + b. A frozen W gets no gradient; a trained one (a tensor) does.
 * @param x      [N, in] f32
 * @param weight [out, in]
 * @param bias   [out] f32
 * @param result `f32` for logits: beside a bf16 weight backends may else hold the result in bf16, as autocast does
 * @returns [N, out]
 */
export function linear(
  x: tf.Tensor2D,
  weight: FrozenWeight | tf.Tensor2D,
  bias?: tf.Tensor,
  result?: 'f32',
): tf.Tensor2D {
  const y =
    weight instanceof tf.Tensor
      ? matmul(x, weight, { transposeB: true })
      : (runOp(frozenLinear, { x }, { weight, ...(result ? { result } : {}) })[0] as tf.Tensor2D);
  return bias ? tf.add(y, bias) : y;
}
