import { availableParallelism } from 'node:os';
import { bfloat16FromFloat32, FrozenWeight, float32FromBFloat16, keyedRandom, type WeightFormat } from '@lft/core';
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

/** x·Wᵀ [count, rows] by the addon, f32 or rounded to bf16. */
function product(addon: Addon, x: Float32Array, weight: FrozenWeight, count: number, type: 'f32' | 'bf16' = 'f32') {
  const { data, rows, columns } = weight;
  const bf16 = type === 'bf16';
  const values = bf16 ? bfloat16FromFloat32(x) : x;
  const [from, to] = [addon.alloc(values.byteLength), addon.alloc(4 * count * rows)] as [Pointer, Pointer];
  try {
    addon.write(from, values);
    const tag = Number(bf16);
    if (!('codes' in data)) addon.matmul(from + tag, data, to + tag, count, columns, rows, 0, 1, 0);
    else if (!addon.vectorProduct(from + tag, data.codes, data.scales, to + tag, count, rows, columns))
      return undefined;
    const result = addon.read(to, (bf16 ? 2 : 4) * count * rows);
    return bf16 ? float32FromBFloat16(new Uint16Array(result)) : new Float32Array(result);
  } finally {
    addon.release(from);
    addon.release(to);
  }
}

/** The largest difference to a sum in f64, in units of Σ|x·w|. */
function error(y: Float32Array, x: Float32Array, weight: FrozenWeight, count: number): number {
  const { rows, columns } = weight;
  const w = new Float32Array(rows * columns);
  w.set('codes' in weight.data ? weight.data.unpack(0, w.length, w) : wide(weight.data));
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

  test.each(FORMATS)('%s: bf16 on both sides is that of the widened x, rounded', (format) => {
    const w = weight(format, 33, 576);
    const x = float32FromBFloat16(bfloat16FromFloat32(draws('x', 2 * 576)));
    const exact = product(addon, x, w, 2);
    if (!exact) return expect(format).toBe('nf4');
    expect(product(addon, x, w, 2, 'bf16')).toEqual(float32FromBFloat16(bfloat16FromFloat32(exact)));
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
