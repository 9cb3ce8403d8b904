import { availableParallelism } from 'node:os';
import {
  bfloat16FromFloat32,
  FrozenWeight,
  float32FromBFloat16,
  type Int8Values,
  keyedRandom,
  NF4_BLOCK,
  type Nf4Values,
  type WeightFormat,
} from '@lft/core';
import type { Addon, Pointer } from './addon.js';
import { nativeProblem } from './index.js';
import { loadAddon } from './load-addon.js';

const problem = nativeProblem();

/** Columns: less than a vector, whole vectors of each format, and some over. Rows: one, and enough for several threads. */
const SHAPES = [
  [1, 1],
  [3, 17],
  [5, 64],
  [16, 100],
  [33, 576],
  [700, 192],
] as const;
const FORMATS = ['f32', 'bf16', 'int8', 'nf4'] as const;

function draws(name: string, size: number): Float32Array {
  const random = keyedRandom(5, name);
  return Float32Array.from({ length: size }, () => random.normal());
}

/** x·Wᵀ [count, rows] by the addon, with x and the result in f32 or rounded to bf16. */
function product(
  addon: Addon,
  x: Float32Array,
  weight: FrozenWeight,
  count: number,
  types: { x?: 'bf16'; y?: 'bf16' } = {},
) {
  const { data, rows, columns } = weight;
  const values = types.x ? bfloat16FromFloat32(x) : x;
  const blocks = [addon.alloc(values.byteLength), addon.alloc(4 * count * rows)] as [Pointer, Pointer];
  try {
    addon.write(blocks[0], values);
    const [from, to] = [blocks[0] + Number(types.x === 'bf16'), blocks[1] + Number(types.y === 'bf16')];
    if (!('codes' in data)) addon.matmul(from, data, to, count, columns, rows, 0, 1, 0, 0);
    else if (!addon.vectorProduct(from, data.codes, data.scales, to, count, rows, columns)) return undefined;
    const result = addon.read(blocks[1], (types.y ? 2 : 4) * count * rows);
    return types.y ? float32FromBFloat16(new Uint16Array(result)) : new Float32Array(result);
  } finally {
    for (const block of blocks) addon.release(block);
  }
}

/** The matrix of nf4 codes whose levels are rounded to bf16. */
function withRoundedLevels({ data, rows, columns }: FrozenWeight): Float32Array {
  const { scales } = data as Nf4Values;
  const w = (data as Nf4Values).unpack(0, rows * columns, new Float32Array(rows * columns));
  const levels = rounded(w.map((value, i) => value / scales[Math.floor(i / NF4_BLOCK)]!));
  return levels.map((level, i) => level * scales[Math.floor(i / NF4_BLOCK)]!);
}

const rounded = (x: Float32Array) => float32FromBFloat16(bfloat16FromFloat32(x));

/** The largest difference to a sum in f64, in units of Σ|x·w|. */
function error(
  y: Float32Array,
  x: Float32Array,
  { rows, columns, data }: FrozenWeight,
  count: number,
  w = 'codes' in data ? data.unpack(0, rows * columns, new Float32Array(rows * columns)) : wide(data),
): number {
  let largest = 0;
  for (let m = 0; m < count; m++) {
    for (let r = 0; r < rows; r++) {
      let [sum, sizes] = [0, 0];
      for (let k = 0; k < columns; k++) {
        const part = x[m * columns + k]! * w[r * columns + k]!;
        sum += part;
        sizes += Math.abs(part);
      }
      largest = Math.max(largest, Math.abs(y[m * rows + r]! - sum) / sizes);
    }
  }
  return largest;
}

const wide = (data: Float32Array | Uint16Array) => (data instanceof Uint16Array ? float32FromBFloat16(data) : data);

(problem ? describe.skip : describe)('products with few rows', () => {
  const addon = problem ? (undefined as never) : loadAddon(undefined);
  const weight = (format: WeightFormat, rows: number, columns: number) =>
    FrozenWeight.pack('w', [rows, columns], draws('w', rows * columns), format);

  test.each(FORMATS)('%s: the sum in f64, to the rounding of sums in f32', (format) => {
    for (const [rows, columns] of SHAPES) {
      for (const count of [1, 2, 3, 4]) {
        const x = draws('x', count * columns);
        const w = weight(format, rows, columns);
        const y = product(addon, x, w, count);
        // nf4 needs rows of whole blocks, and a processor that has it.
        if (!y) {
          expect(format).toBe('nf4');
          continue;
        }
        // 16 sums or more are added up: at most columns / 16 + 8 roundings, of 2⁻²⁴ each.
        const allowed = (columns / 16 + 8) * 2 ** -24;
        const found = error(y, x, w, count);
        expect({ rows, columns, count, found, within: found < allowed }).toMatchObject({ within: true });
      }
    }
  });

  test.each(FORMATS)('%s: with x in bf16 too, and a result in bf16 is this one, rounded', (format) => {
    for (const [rows, columns] of SHAPES) {
      for (const count of [1, 4]) {
        const x = rounded(draws('x', count * columns));
        const w = weight(format, rows, columns);
        const y = product(addon, x, w, count, { x: 'bf16' });
        if (!y) continue;
        const allowed = (columns / 16 + 8) * 2 ** -24;
        // The levels of nf4 may be rounded to bf16, as they are in a matrix that is unpacked.
        const matrices = format === 'nf4' ? [undefined, withRoundedLevels(w)] : [undefined];
        const found = Math.min(...matrices.map((matrix) => error(y, x, w, count, matrix)));
        expect({ rows, columns, count, found, within: found < allowed }).toMatchObject({ within: true });
        expect(product(addon, x, w, count, { x: 'bf16', y: 'bf16' })).toEqual(rounded(y));
      }
    }
  });

  test('int8: one large value of x takes nothing from the others', () => {
    const w = weight('int8', 33, 576);
    const x = draws('x', 576);
    x[100] = 1e4;
    // To the 30 bits that the largest value has.
    const y = product(addon, x, w, 1)!;
    x[100] = 0;
    const without = product(addon, x, w, 1)!;
    const column = (w.data as Int8Values)
      .unpack(0, 33 * 576, new Float32Array(33 * 576))
      .filter((_, i) => i % 576 === 100);
    for (const [r, value] of column.entries()) expect(Math.abs(y[r]! - 1e4 * value - without[r]!)).toBeLessThan(2e-2);
  });

  test('int8: a value that is not finite gives no finite value', () => {
    const x = draws('x', 576);
    x[7] = Number.NaN;
    expect(product(addon, x, weight('int8', 5, 576), 1)!.some(Number.isFinite)).toBe(false);
  });

  test('any number of threads gives the same bits', () => {
    const x = draws('x', 576);
    const w = weight('bf16', 3000, 576);
    const alone = [1, 2].map((threads) => {
      addon.setThreads(threads);
      return Array.from({ length: 20 }, () => product(addon, x, w, 1));
    });
    addon.setThreads(availableParallelism());
    for (const y of alone.flat()) expect(y).toEqual(alone[0]![0]);
  });
});

if (problem) test.skip(problem, () => undefined);
