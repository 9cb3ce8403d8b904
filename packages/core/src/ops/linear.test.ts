import * as tf from '@tensorflow/tfjs-core';
import { draws, expectNoTensorsLeft, opLaws } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { bfloat16FromFloat32, float32FromBFloat16 } from '../formats/half-precision.js';
import { FrozenWeight } from '../weights/frozen-weight.js';
import { Int8Values } from '../weights/int8.js';
import { Nf4Values } from '../weights/nf4.js';
import { unpack, type WeightData } from '../weights/unpack.js';
import { linear } from './linear.js';

const [N, IN, OUT] = [3, 4, 5];
const f32 = Float32Array.from(draws('frozen', [OUT, IN]));
const bf16 = bfloat16FromFloat32(f32);
const int8 = Int8Values.quantise(f32, OUT);
const nf4 = Nf4Values.quantise(f32);

/** y = x·Wᵀ + b in f64. */
function formula(x: readonly number[], weight: ArrayLike<number>, bias?: readonly number[]): number[] {
  return Array.from({ length: N * OUT }, (_, i) => {
    const [n, o] = [Math.floor(i / OUT), i % OUT];
    let sum = bias?.[o] ?? 0;
    for (let k = 0; k < IN; k++) sum += x[n * IN + k]! * weight[o * IN + k]!;
    return sum;
  });
}

/** A frozen weight that is unpacked in blocks of rows, as a weight of more than 32 MiB is. */
function inBlocks(data: WeightData): FrozenWeight {
  const weight = new FrozenWeight('w', [OUT, IN], data);
  jest.spyOn(weight, 'blocks').mockReturnValue([
    [0, 2],
    [2, 4],
    [4, 5],
  ]);
  return weight;
}

for (const [name, weight, values] of [
  ['f32', new FrozenWeight('w', [OUT, IN], f32), f32],
  ['bf16', new FrozenWeight('w', [OUT, IN], bf16), float32FromBFloat16(bf16)],
  ['f32 in blocks of rows', inBlocks(f32), f32],
  ['bf16 in blocks of rows', inBlocks(bf16), float32FromBFloat16(bf16)],
  // What is quantised is the matrix that it dequantises to: value and gradient are that one's, exactly.
  ['int8', new FrozenWeight('w', [OUT, IN], int8), unpack(int8, 0, OUT * IN)],
  ['nf4 in blocks of rows', inBlocks(nf4), unpack(nf4, 0, OUT * IN)],
] as const) {
  opLaws(`linear with a frozen ${name} weight and a trained bias`, {
    inputs: { x: [N, IN], bias: [OUT] },
    run: ({ x, bias }) => linear(x as tf.Tensor2D, weight, bias),
    reference: ({ x, bias }) => formula(x!, values, bias),
  });
}

opLaws('linear with a trained weight', {
  inputs: { x: [N, IN], weight: [OUT, IN], bias: [OUT] },
  run: ({ x, weight, bias }) => linear(x as tf.Tensor2D, weight as tf.Tensor2D, bias),
  reference: ({ x, weight, bias }) => formula(x!, weight!, bias),
});

opLaws('linear without a bias', {
  inputs: { x: [N, IN], weight: [OUT, IN] },
  run: ({ x, weight }) => linear(x as tf.Tensor2D, weight as tf.Tensor2D),
  reference: ({ x, weight }) => formula(x!, weight!),
});

test('a weight of more than 32 MiB goes in blocks of rows that cover it once', async () => {
  await useBackend('cpu');
  const columns = 4 * 1024 * 1024;
  // Three rows of 16 MiB: two fit in a block.
  const weight = new FrozenWeight('w', [3, columns], new Uint16Array(3 * columns));
  expect(weight.blocks()).toEqual([
    [0, 2],
    [2, 3],
  ]);
});

test('a row that is larger than a block goes alone', () => {
  const data = new Uint16Array(0);
  expect(new FrozenWeight('w', [2, 16 * 1024 * 1024], data).blocks()).toEqual([
    [0, 1],
    [1, 2],
  ]);
});

test('a trained variable is taken as a trained weight', async () => {
  await useBackend('cpu');
  await expectNoTensorsLeft(() => {
    const weight = tf.tidy(() => tf.variable(tf.ones([2, 2])));
    const y = tf.tidy(() => Array.from(linear(tf.ones([1, 2]), weight as unknown as tf.Tensor2D).dataSync()));
    expect(y).toEqual([2, 2]);
    weight.dispose();
  });
});
