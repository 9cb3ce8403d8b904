import * as tf from '@tensorflow/tfjs-core';
import type { FrozenWeight } from '../weights/frozen-weight.js';
import { runIfFused } from './define-op.js';

/** Name under which a backend may register both products, with a weight that it keeps: input { x }, attributes { weight, transposed }. */
const KERNEL = 'LftFrozenProduct';

/** x·Wᵀ: [N, in] to [N, out], a block of W's rows unpacked at a time. */
export function timesTransposed(x: tf.Tensor2D, weight: FrozenWeight): tf.Tensor2D {
  const fused = runIfFused(KERNEL, { x }, { weight, transposed: true });
  if (fused) return fused[0] as tf.Tensor2D;
  const parts = weight
    .blocks()
    .map(([begin, end]) => tf.tidy(() => tf.matMul(x, weight.rowBlockTransposed(begin, end)) as tf.Tensor2D));
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 1);
}

/** y·W: [N, out] to [N, in], summed over blocks of W's rows. */
export function times(y: tf.Tensor2D, weight: FrozenWeight): tf.Tensor2D {
  const fused = runIfFused(KERNEL, { x: y }, { weight, transposed: false });
  if (fused) return fused[0] as tf.Tensor2D;
  const blocks = weight.blocks();
  if (blocks.length === 1) return tf.tidy(() => tf.matMul(y, weight.rowBlock(0, weight.rows)));
  return blocks.reduce<tf.Tensor2D>(
    (sum, [begin, end]) =>
      tf.tidy(() => {
        const part = tf.matMul(tf.slice(y, [0, begin], [-1, end - begin]), weight.rowBlock(begin, end));
        return tf.add(sum, part);
      }),
    tf.zeros([y.shape[0], weight.columns]),
  );
}
