import { FrozenWeight, keyedRandom, ops, useBackend, type WeightFormat } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiate } from '../../core/src/autodiff/differentiate.js';
import { nativeProblem, useNative } from './index.js';

const [N, D] = [70, 64];

function draws(name: string, size: number): Float32Array {
  const random = keyedRandom(7, name);
  return Float32Array.from({ length: size }, () => random.normal() / 8);
}
const matrix = (name: string, rows: number, columns: number) =>
  tf.tensor2d(draws(name, rows * columns), [rows, columns]);

/** Gradients of a graph whose tensors are used by several operations, or twice by one. */
function gradients(format: WeightFormat): Float32Array[] {
  const [first, second] = ['first', 'second'].map((name) =>
    FrozenWeight.pack(name, [D, D], draws(name, D * D), format),
  ) as [FrozenWeight, FrozenWeight];
  return tf.tidy(() => {
    const [x, a, b] = [matrix('x', N, D), matrix('a', 4, D), matrix('b', D, 4)];
    const scale = tf.tensor1d(draws('scale', D));
    const graph = () => {
      const normed = ops.rmsNorm(x, scale, 1e-5);
      const updated = ops.lowRankUpdate(ops.linear(normed, first), normed, a, b, 2);
      const once = ops.add(x, ops.add(updated, ops.linear(normed, second)));
      const twice = ops.add(once, once);
      // Its gradient lies where that of `twice` does.
      const aside = ops.linear(ops.rmsNorm(once, scale, 1e-5), first);
      const last = ops.lowRankUpdate(ops.add(twice, aside), ops.linear(once, second), a, b, 2);
      return tf.sum(tf.mul(last, matrix('factors', N, D)));
    };
    const taken: Float32Array[] = [];
    differentiate(graph, [x, a, b], tf.scalar(1), (i, gradient) => {
      taken[i] = gradient.dataSync() as Float32Array;
      gradient.dispose();
    });
    return taken;
  });
}

function error(actual: Float32Array, expected: Float32Array): number {
  let [worst, largest] = [0, 0];
  for (const [i, value] of expected.entries()) {
    worst = Math.max(worst, Math.abs(actual[i]! - value));
    largest = Math.max(largest, Math.abs(value));
  }
  return worst / largest;
}

const problem = nativeProblem();
(problem ? describe.skip : describe)('sums of gradients', () => {
  // Beside weights in less than f32 activations are held in bf16.
  const TOLERANCE = { f32: 1e-5, bf16: 0.02, int8: 0.03, nf4: 0.02 };
  for (const [format, tolerance] of Object.entries(TOLERANCE) as [WeightFormat, number][]) {
    test(`are those of the plain backend, with weights in ${format}`, async () => {
      await useBackend('cpu');
      const expected = gradients(format);
      await useNative({ precision: 'f32' });
      for (const [i, gradient] of gradients(format).entries()) {
        expect(error(gradient, expected[i]!)).toBeLessThan(tolerance);
      }
    });
  }

  test('are added to by products and norms, without a pass of their own', async () => {
    await useNative({ precision: 'f32' });
    const add = jest.spyOn(tf.getKernel('LftAccumulate', 'native'), 'kernelFunc');
    gradients('f32');
    // What is left: what the addition of `once` to itself gives, and the sums of a and b.
    expect(add.mock.calls.map(([{ inputs }]) => inputs.part!.shape)).toEqual([
      [N, D],
      [N, D],
      [4, D],
      [D, 4],
    ]);
    add.mockRestore();
  });
});
