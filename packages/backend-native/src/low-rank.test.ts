import { bfloat16FromFloat32, float32FromBFloat16, keyedRandom } from '@lft/core';
import type { Addon } from './addon.js';
import { nativeProblem } from './index.js';
import { loadAddon } from './load-addon.js';

interface Shape {
  readonly rows: number;
  readonly in: number;
  readonly out: number;
  readonly rank: number;
}
type Type = 'f32' | 'bf16';
type Arrays = Record<string, Float64Array>;
const SCALE = 0.5;

const rounded = (values: Float64Array) =>
  Float64Array.from(float32FromBFloat16(bfloat16FromFloat32(Float32Array.from(values))));

/** Standard normal values that bf16 can hold. */
function draw(name: string, size: number): Float64Array {
  const random = keyedRandom(5, name);
  return rounded(Float64Array.from({ length: size }, () => random.normal()));
}

/** [rows, inner]·[inner, columns], each given as a function of its places. */
function product(
  rows: number,
  inner: number,
  columns: number,
  a: (i: number, k: number) => number,
  b: (k: number, j: number) => number,
): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < inner; k++) for (let j = 0; j < columns; j++) out[i * columns + j]! += a(i, k) * b(k, j);
  return out;
}

/** In f64, with what lies between two products rounded as it is held. dx is added to the sum, if there is one. */
function reference(shape: Shape, { x, a, b, y, dy, sum }: Arrays): Arrays {
  const { rows, in: width, out, rank } = shape;
  const scaled = (values: Float64Array) => rounded(values.map((value) => SCALE * value));
  const at = (values: Float64Array, columns: number) => (i: number, j: number) => values[i * columns + j]!;
  const turned = (values: Float64Array, columns: number) => (i: number, j: number) => values[j * columns + i]!;
  const low = scaled(product(rank, width, rows, at(a!, width), turned(x!, width)));
  const dLow = scaled(product(rank, out, rows, turned(b!, rank), turned(dy!, out)));
  const update = product(rows, rank, out, turned(low, rows), turned(b!, rank));
  return {
    low,
    y: y!.map((value, i) => value + update[i]!),
    dx: product(rows, rank, width, turned(dLow, rows), at(a!, width)).map((value, i) => value + (sum?.[i] ?? 0)),
    da: product(rank, rows, width, at(dLow, rows), at(x!, width)),
    db: product(out, rows, rank, turned(dy!, out), turned(low, rows)),
  };
}

/** The same by the addon. */
function native(addon: Addon, shape: Shape, gradientType: Type, given: Arrays): Arrays {
  const { rows, in: width, out, rank } = shape;
  const blocks: number[] = [];
  const put = (values: Float64Array, type: Type) => {
    const f32 = Float32Array.from(values);
    const pointer = addon.alloc(4 * values.length);
    blocks.push(pointer);
    addon.write(pointer, type === 'bf16' ? bfloat16FromFloat32(f32) : f32);
    return type === 'bf16' ? pointer + 1 : pointer;
  };
  const [x, y, dy] = [put(given.x!, 'bf16'), put(given.y!, 'bf16'), put(given.dy!, gradientType)];
  const [a, b] = [put(given.a!, 'f32'), put(given.b!, 'f32')];
  const room = (size: number, type: Type) => put(new Float64Array(size).fill(Number.NaN), type);
  const low = room(rank * rows, 'bf16');
  const dx = given.sum ? put(given.sum, 'bf16') : room(rows * width, 'bf16');
  const [da, db] = [room(rank * width, 'f32'), room(out * rank, 'f32')];
  const sizes = [rows, width, out, rank, SCALE, 1] as const;
  addon.lowRank(x, a, b, low, y, ...sizes);
  addon.lowRankGradients(dy, x, a, b, low, dx, da, db, Number(given.sum !== undefined), ...sizes);
  const bf16 = (values: number, size: number) =>
    Float64Array.from(float32FromBFloat16(new Uint16Array(addon.read(values - 1, 2 * size))));
  const f32 = (pointer: number, size: number) => Float64Array.from(new Float32Array(addon.read(pointer, 4 * size)));
  const result = {
    low: bf16(low, rank * rows),
    y: bf16(y, rows * out),
    dx: bf16(dx, rows * width),
    da: f32(da, rank * width),
    db: f32(db, out * rank),
  };
  for (const pointer of blocks) addon.release(pointer);
  return result;
}

/** The largest error as a part of the largest value. */
function error(actual: Float64Array, expected: Float64Array): number {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return actual.reduce((worst, value, i) => {
    const difference = Math.abs(value - expected[i]!);
    return difference <= worst * largest ? worst : difference / largest;
  }, 0);
}

const CASES: Record<string, Shape> = {
  'fewer rows than a block': { rows: 20, in: 64, out: 96, rank: 8 },
  'whole blocks': { rows: 128, in: 64, out: 96, rank: 8 },
  'blocks and a row': { rows: 129, in: 32, out: 64, rank: 16 },
  'widths that are no whole tiles': { rows: 150, in: 68, out: 36, rank: 8 },
  'widths that are no whole words': { rows: 70, in: 33, out: 35, rank: 4 },
  'an odd rank': { rows: 200, in: 96, out: 64, rank: 5 },
  'a rank of two panels': { rows: 130, in: 64, out: 32, rank: 27 },
  'a large rank': { rows: 64, in: 96, out: 96, rank: 40 },
};

const problem = nativeProblem();
(problem ? describe.skip : describe)("LoRA's update in bf16", () => {
  for (const [name, shape] of Object.entries(CASES)) {
    for (const [gradientType, sum] of [
      ['bf16', false],
      ['f32', true],
    ] as const) {
      test(`is that of the formula, and its gradients too: ${name}, dy in ${gradientType}, ${sum ? 'on a sum' : 'alone'}`, () => {
        const addon = loadAddon(undefined);
        const { rows, in: width, out, rank } = shape;
        const given = {
          x: draw('x', rows * width),
          a: draw('a', rank * width),
          b: draw('b', out * rank),
          y: draw('y', rows * out),
          dy: draw('dy', rows * out),
          ...(sum && { sum: draw('sum', rows * width) }),
        };
        const [actual, expected] = [native(addon, shape, gradientType, given), reference(shape, given)];
        // bf16 has steps of 1/128; where low is rounded the other way, what is made of it is off by as much.
        for (const [key, values] of Object.entries(expected)) {
          expect([key, error(actual[key]!, values) < 0.01]).toEqual([key, true]);
        }
        expect(native(addon, shape, gradientType, given)).toEqual(actual);
      });
    }
  }
});
