import { bfloat16FromFloat32, float32FromBFloat16, keyedRandom } from '@lft/core';
import type { Addon, Pointer } from './addon.js';
import { nativeProblem } from './index.js';
import { loadAddon } from './load-addon.js';

type Format = 'f32' | 'bf16';
const FORMATS: readonly Format[] = ['f32', 'bf16'];

/** Rows, inner dimension and columns: whole tiles of every kernel, some over, one part of the inner dimension and several. */
const SHAPES = [
  [64, 192, 96],
  [37, 577, 83],
  [20, 1300, 49],
  [70, 30, 700],
] as const;

function draws(name: string, size: number): Float32Array {
  const random = keyedRandom(11, name);
  return Float32Array.from({ length: size }, () => random.normal());
}
const rounded = (x: Float32Array) => float32FromBFloat16(bfloat16FromFloat32(x));

/** A matrix in native memory, as the addon takes it. */
class Matrix {
  readonly values: number;
  private readonly block: Pointer;

  constructor(
    private readonly addon: Addon,
    x: Float32Array,
    private readonly format: Format,
  ) {
    this.block = addon.alloc(4 * x.length);
    addon.write(this.block, format === 'bf16' ? bfloat16FromFloat32(x) : x);
    this.values = this.block + Number(format === 'bf16');
  }
  read(size: number): Float32Array {
    const bytes = this.addon.read(this.block, (this.format === 'bf16' ? 2 : 4) * size);
    return this.format === 'bf16' ? float32FromBFloat16(new Uint16Array(bytes)) : new Float32Array(bytes);
  }
  release(): void {
    this.addon.release(this.block);
  }
}

interface Product {
  shape: readonly [number, number, number];
  formats: readonly [a: Format, b: Format, c: Format];
  transposes: readonly [a: boolean, b: boolean];
  adds: boolean;
}

function multiply(addon: Addon, { shape, formats, transposes, adds }: Product, x: Float32Array[]): Float32Array {
  const [rows, inner, columns] = shape;
  const matrices = x.map((values, i) => new Matrix(addon, values, formats[i]!));
  const [a, b, c] = matrices as [Matrix, Matrix, Matrix];
  try {
    const [turnA, turnB] = transposes.map(Number) as [number, number];
    addon.matmul(a.values, b.values, c.values, rows, inner, columns, turnA, turnB, 0, Number(adds));
    return c.read(rows * columns);
  } finally {
    for (const matrix of matrices) matrix.release();
  }
}

/** a·b + c in f64, and Σ|a·b| + |c|. */
function sums([rows, inner, columns]: Product['shape'], [a, b, c]: Float32Array[]): [Float64Array, Float64Array] {
  const [values, sizes] = [Float64Array.from(c!), Float64Array.from(c!, Math.abs)];
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < inner; k++) {
      for (let j = 0; j < columns; j++) {
        const value = a![i * inner + k]! * b![k * columns + j]!;
        values[i * columns + j]! += value;
        sizes[i * columns + j]! += Math.abs(value);
      }
    }
  }
  return [values, sizes];
}

/** x [rows, columns], transposed. */
const turned = (x: Float32Array, rows: number, columns: number) =>
  x.map((_, i) => x[(i % rows) * columns + Math.floor(i / rows)]!);

const problem = nativeProblem();
(problem ? describe.skip : describe)('products of matrices', () => {
  const addon = problem ? (undefined as never) : loadAddon(undefined);

  for (const shape of SHAPES) {
    for (const a of FORMATS) {
      for (const b of FORMATS) {
        test(`[${shape.join(', ')}], ${a} by ${b}, as they lie and transposed, are those in f64`, () => {
          const [rows, inner, columns] = shape;
          const sizes = [rows * inner, inner * columns, rows * columns];
          const c: Format = a === 'bf16' ? 'bf16' : 'f32';
          // An f32 operand beside a bf16 one is rounded by the bf16 units, and not where it is multiplied in f32.
          const tolerance = c === 'bf16' || a !== b ? 2 ** -8 : 1e-6;
          const x = sizes.map((size, i) =>
            ([a, b, c][i] === 'bf16' ? rounded : (values: Float32Array) => values)(draws(`${i}`, size)),
          );
          for (const adds of [false, true]) {
            const [expected, size] = sums(shape, adds ? x : [x[0]!, x[1]!, new Float32Array(sizes[2]!)]);
            for (const [turnA, turnB] of [
              [false, false],
              [false, true],
              [true, false],
              [true, true],
            ] as const) {
              const lying = [
                turnA ? turned(x[0]!, rows, inner) : x[0]!,
                turnB ? turned(x[1]!, inner, columns) : x[1]!,
                x[2]!,
              ];
              const result = multiply(addon, { shape, formats: [a, b, c], transposes: [turnA, turnB], adds }, lying);
              const error = result.reduce((most, y, i) => Math.max(most, Math.abs(y - expected[i]!) / size[i]!), 0);
              expect({ turnA, turnB, adds, error: error < tolerance || error }).toMatchObject({ error: true });
            }
          }
        });
      }
    }
  }

  test('sum the inner dimension in f32 also beside bf16', () => {
    // In bf16, 256 + 1 is 256.
    const [rows, inner, columns] = [64, 512, 64];
    const product: Product = {
      shape: [rows, inner, columns],
      formats: ['bf16', 'bf16', 'f32'],
      transposes: [false, false],
      adds: false,
    };
    const ones = new Float32Array(rows * inner).fill(1);
    const sums = multiply(addon, product, [ones, ones, new Float32Array(rows * columns)]);
    expect(new Set(sums)).toEqual(new Set([inner]));
  });

  test('give the same bits each time, and a NaN in the rows and columns that have one', () => {
    const shape = [70, 300, 96] as const;
    const [rows, inner, columns] = shape;
    const x = [draws('a', rows * inner), draws('b', inner * columns), new Float32Array(rows * columns)];
    for (const format of FORMATS) {
      const product: Product = { shape, formats: [format, format, format], transposes: [false, false], adds: false };
      const first = multiply(addon, product, x);
      expect(multiply(addon, product, x)).toEqual(first);
      const spoilt = [x[0]!.slice(), x[1]!, x[2]!];
      spoilt[0]![13 * inner + 299] = Number.NaN;
      for (const [i, value] of multiply(addon, product, spoilt).entries()) {
        if (Math.floor(i / columns) === 13) expect(value).toBeNaN();
        else expect(value).toBe(first[i]);
      }
    }
  });
});
