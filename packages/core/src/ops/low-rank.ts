import * as tf from '@tensorflow/tfjs-core';
import { view } from '../autodiff/tape.js';
import { hasKernel, type Op, runOnto, runOp } from './define-op.js';
import { product } from './matmul.js';

type Inputs = { y: tf.Tensor2D; x: tf.Tensor2D; a: tf.Tensor2D; b: tf.Tensor2D };
interface Attributes {
  readonly scale: number;
}

const trains = (wanted: (input: 'a' | 'b') => boolean) => wanted('a') || wanted('b');

const op: Op<Inputs, Attributes> = {
  kernelName: 'LftLowRank',
  saveInputs: ['x', 'a', 'b'],
  // s·x·Aᵀ, which dB needs. Backends hold it as they hold x, so that they know how to hold dx.
  saveOutputs: [false, true],
  needs: (wanted) => [trains(wanted), true, true, true],
  forward({ y, x, a, b }, { scale }) {
    const low = tf.mul(product(x, a, false, true), scale) as tf.Tensor2D;
    return [tf.add(y, product(low, b, false, true)), low];
  },
  backward(dy, [x, a, b, low], { scale }, wanted) {
    // A frozen update only passes the gradient on; one that trains, below which nothing does, only takes it.
    const [passes, factors] = [wanted('x'), trains(wanted)];
    const y = () => view(dy);
    if (!passes && !factors) return { y };
    if (hasKernel('LftLowRankGradients')) {
      // All at once, when the first of them is asked for. The tensor library's own backward frees after each what that one does not return.
      let all: tf.Tensor[] | undefined;
      const gradient = (index: number, sum?: tf.Tensor) => {
        const inputs = { dy, a: a!, b: b!, low: low!, ...(factors && { x: x! }) };
        if (!all || all[index]!.isDisposed) all = runOnto(sum, 'LftLowRankGradients', inputs, { scale, passes })!;
        return all[index]!;
      };
      const first = passes ? 1 : 0;
      return { y, x: (sum) => gradient(0, sum), a: () => gradient(first), b: () => gradient(first + 1) };
    }
    const [d, inner] = [dy as tf.Tensor2D, low as tf.Tensor2D];
    const dLow = tf.mul(product(d, b as tf.Tensor2D), scale) as tf.Tensor2D;
    return {
      y,
      x: () => product(dLow, a as tf.Tensor2D),
      a: () => product(dLow, x as tf.Tensor2D, true),
      b: () => product(d, inner, true),
    };
  },
};

/**
 * y + s·(x·Aᵀ)·Bᵀ, LoRA's update of a module's output (arXiv 2106.09685, eq. 3), in one operation.
 * @param y     [N, out], used up: a backend may add in its memory
 * @param x     [N, in]
 * @param a     [r, in]
 * @param b     [out, r]
 * @param scale s
 * @returns [N, out]
 */
export function lowRankUpdate(
  y: tf.Tensor2D,
  x: tf.Tensor2D,
  a: tf.Tensor2D,
  b: tf.Tensor2D,
  scale: number,
): tf.Tensor2D {
  return runOp(op, { y, x, a, b }, { scale })[0] as tf.Tensor2D;
}
