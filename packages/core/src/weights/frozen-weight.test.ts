import * as tf from '@tensorflow/tfjs-core';
import { draws } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { bfloat16FromFloat32, float32FromBFloat16 } from '../formats/half-precision.js';
import { FrozenWeight } from './frozen-weight.js';
import { Int8Values } from './int8.js';
import { Nf4Values } from './nf4.js';
import { unpack, unpackTransposed, type WeightData } from './unpack.js';

// Not multiples of the tile of 32, and more than one tile each way.
const [ROWS, COLUMNS] = [37, 71];
const f32 = Float32Array.from(draws('w', [ROWS, COLUMNS]));
const bf16 = bfloat16FromFloat32(f32);
const rounded = float32FromBFloat16(bf16);
const int8 = Int8Values.quantise(f32, ROWS);
const nf4 = Nf4Values.quantise(f32);

describe.each<[string, WeightData, Float32Array]>([
  ['f32', f32, f32],
  ['bf16', bf16, rounded],
  ['int8', int8, unpack(int8, 0, f32.length)],
  ['nf4', nf4, unpack(nf4, 0, f32.length)],
])('%s', (format, data, values) => {
  test('unpack gives the values of a range', () => {
    expect(unpack(data, 0, data.length)).toEqual(values);
    expect(unpack(data, 5, 9)).toEqual(values.slice(5, 9));
    expect(unpack(data, 4, 4)).toHaveLength(0);
  });

  test.each([
    [0, ROWS],
    [3, 36],
    [36, 37],
    [5, 5],
  ])('rows %i to %i transposed have value (r, c) at (c, r)', (begin, end) => {
    const rows = end - begin;
    const transposed = unpackTransposed(data, COLUMNS, begin, end);
    expect(transposed).toHaveLength(rows * COLUMNS);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < COLUMNS; c++)
        if (transposed[c * rows + r] !== values[(begin + r) * COLUMNS + c]) throw new Error(`differs at ${r}, ${c}`);
  });

  test('its tensors are its values, in every way of asking', async () => {
    await useBackend('cpu');
    const weight = new FrozenWeight('w', [ROWS, COLUMNS], data);
    expect(weight).toMatchObject({ format, rows: ROWS, columns: COLUMNS, bytes: data.byteLength });
    tf.tidy(() => {
      expect(weight.tensor().shape).toEqual([ROWS, COLUMNS]);
      expect(weight.tensor().dataSync()).toEqual(values);
      expect(weight.rowBlock(2, 4).dataSync()).toEqual(values.slice(2 * COLUMNS, 4 * COLUMNS));
      expect(weight.rowBlockTransposed(0, ROWS).shape).toEqual([COLUMNS, ROWS]);
      expect(weight.gather([36, 0]).dataSync().slice(0, COLUMNS)).toEqual(values.slice(36 * COLUMNS));
    });
  });
});

test.each([
  [f32, f32],
  [bf16, rounded],
])('a view into a larger buffer is read from its own beginning', (data, values) => {
  const view = data.subarray(COLUMNS);
  expect(unpackTransposed(view, COLUMNS, 0, 1)).toEqual(values.slice(COLUMNS, 2 * COLUMNS));
});

test('a NaN, an infinity and a signed zero keep their bits through bf16', () => {
  const special = Uint16Array.from([0x7fc0, 0x7f80, 0xff80, 0x8000]);
  const values = unpack(special, 0, 4);
  expect([...values]).toEqual([Number.NaN, Infinity, -Infinity, -0]);
  expect([...unpackTransposed(special, 2, 0, 2)]).toEqual([Number.NaN, -Infinity, Infinity, -0]);
});

test('a vector has one value in a row', () => {
  expect(new FrozenWeight('n', [3], Float32Array.from([1, 2, 3])).columns).toBe(1);
});
