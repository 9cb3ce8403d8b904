import * as tf from '@tensorflow/tfjs-core';
import { draws, expectNoTensorsLeft, opLaws } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { bfloat16FromFloat32, float32FromBFloat16 } from '../formats/half-precision.js';
import { FrozenWeight } from '../weights/frozen-weight.js';
import { embedding } from './embedding.js';

const [V, D] = [5, 3];
const ids = [4, 0, 4, 2, 4];
const rows = (table: ArrayLike<number>) => ids.flatMap((id) => Array.from({ length: D }, (_, d) => table[id * D + d]!));

opLaws('embedding with ids that occur several times', {
  inputs: { table: [V, D] },
  run: ({ table }) => tf.tidy(() => embedding(table as tf.Tensor2D, tf.tensor1d(ids, 'int32'))),
  reference: ({ table }) => rows(table!),
});

test('a row that is not picked has gradient 0, one that is picked three times the sum of three', async () => {
  await useBackend('cpu');
  const gradient = tf.tidy(() =>
    tf
      .grad((table) => embedding(table as tf.Tensor2D, tf.tensor1d(ids, 'int32')))(tf.zeros([V, D]))
      .arraySync(),
  );
  expect(gradient).toEqual([1, 0, 1, 0, 3].map((count) => [count, count, count]));
});

const f32 = Float32Array.from(draws('table', [V, D]));
const bf16 = bfloat16FromFloat32(f32);
test.each(['cpu', 'wasm'])('a frozen table gives the bits of its rows on %s', async (backend) => {
  await useBackend(backend);
  for (const [data, expected] of [
    [f32, f32],
    [bf16, float32FromBFloat16(bf16)],
  ] as const) {
    await expectNoTensorsLeft(() => {
      const picked = tf.tidy(() =>
        Array.from(embedding(new FrozenWeight('t', [V, D], data), tf.tensor1d(ids, 'int32')).dataSync()),
      );
      expect(picked).toEqual(rows(expected));
    });
  }
});
