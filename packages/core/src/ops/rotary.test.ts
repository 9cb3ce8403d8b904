import * as tf from '@tensorflow/tfjs-core';
import { draws, expectClose, expectNoTensorsLeft, opLaws } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { rotary } from './rotary.js';

const [N, H, D] = [3, 2, 4];
const HALF = D / 2;
const angle = (n: number, i: number) => n * 0.7 ** i + 0.1;

function tables(): { cos: tf.Tensor3D; sin: tf.Tensor3D } {
  const table = (f: (angle: number) => number) =>
    tf.tensor3d(
      Array.from({ length: N * D }, (_, i) => f(angle(Math.floor(i / D), (i % D) % HALF))),
      [N, 1, D],
    );
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

opLaws('rotary', {
  inputs: { x: [N, H, D] },
  run: ({ x }) => tf.tidy(() => rotary(x as tf.Tensor3D, tables().cos, tables().sin)),
  reference: ({ x }) =>
    x!.map((_, at) => {
      const n = Math.floor(at / (H * D));
      const d = at % D;
      const i = d % HALF;
      const begin = at - d;
      const [a, b] = [x![begin + i]!, x![begin + i + HALF]!];
      // The complex number a + ib, turned by the angle.
      const [cos, sin] = [Math.cos(angle(n, i)), Math.sin(angle(n, i))];
      return d < HALF ? a * cos - b * sin : a * sin + b * cos;
    }),
});

test('a rotation keeps the length of every pair', async () => {
  await useBackend('cpu');
  await expectNoTensorsLeft(() =>
    tf.tidy(() => {
      const values = draws('x', [N, H, D]);
      const turned = rotary(tf.tensor3d(values, [N, H, D]), tables().cos, tables().sin).dataSync();
      const lengths = (v: ArrayLike<number>) =>
        Array.from(v).flatMap((a, at) => (at % D < HALF ? [Math.hypot(a, v[at + HALF]!)] : []));
      expectClose(lengths(turned), lengths(values), 1e-6);
    }),
  );
});
