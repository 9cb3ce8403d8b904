import * as tf from '@tensorflow/tfjs-core';
import { type Op, runOp } from './define-op.js';
import { transposed } from './transposed.js';

interface MatmulAttributes {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

type MatmulInputs = { a: tf.Tensor2D; b: tf.Tensor2D };

/**
 * The product without a gradient. The wasm backend multiplies plain matrices with XNNPACK and transposed ones in a naive loop that is
 * 10 to 20 times slower, so there the cheaper of the operands, or the result, is transposed explicitly.
 */
export function product(a: tf.Tensor2D, b: tf.Tensor2D, transposeA = false, transposeB = false): tf.Tensor2D {
  if (tf.getBackend() !== 'wasm' || (!transposeA && !transposeB)) return tf.matMul(a, b, transposeA, transposeB);
  if (transposeA && transposeB) return transposed(tf.matMul(b, a));
  const rows = transposeA ? a.shape[1] : a.shape[0];
  const columns = transposeB ? b.shape[0] : b.shape[1];
  const result = rows * columns;
  if (transposeA) {
    return a.size <= b.size + result ? tf.matMul(transposed(a), b) : transposed(tf.matMul(transposed(b), a));
  }
  return b.size <= a.size + result ? tf.matMul(a, transposed(b)) : transposed(tf.matMul(b, transposed(a)));
}

const op: Op<MatmulInputs, MatmulAttributes> = {
  kernelName: 'LftMatmul',
  saveInputs: ['a', 'b'],
  needs: (wanted) => [wanted('b'), wanted('a')],
  forward: ({ a, b }, { transposeA, transposeB }) => product(a, b, transposeA, transposeB),
  backward(dy, [a, b], { transposeA, transposeB }) {
    const [x, y, d] = [a as tf.Tensor2D, b as tf.Tensor2D, dy as tf.Tensor2D];
    return {
      a: () => (transposeA ? product(y, d, transposeB, true) : product(d, y, false, !transposeB)),
      b: () => (transposeB ? product(d, x, true, transposeA) : product(x, d, !transposeA, false)),
    };
  },
};

/**
 * Matrix product, differentiable in both operands. Use it in place of `tf.matMul`, which has no gradient here and is slow with transposed
 * operands on wasm.
 * @param a [M, K], or [K, M] with `transposeA`
 * @param b [K, N], or [N, K] with `transposeB`
 * @returns [M, N] f32
 */
export function matmul(a: tf.Tensor2D, b: tf.Tensor2D, transpose: Partial<MatmulAttributes> = {}): tf.Tensor2D {
  const attributes = { transposeA: transpose.transposeA ?? false, transposeB: transpose.transposeB ?? false };
  return runOp(op, { a, b }, attributes)[0] as tf.Tensor2D;
}
