import {
  adamw,
  bfloat16FromFloat32,
  FrozenWeight,
  fineTune,
  type Int8Values,
  keyedRandom,
  loadModel,
  ops,
  useBackend,
} from '@lft/core';
import { lora } from '@lft/lora';
import { tinyData, tinyModel } from '@lft/testing';
import * as tf from '@tensorflow/tfjs-core';
import { nativeProblem, useNative } from './index.js';

const problem = nativeProblem();

function draws(name: string, size: number): Float32Array {
  const random = keyedRandom(3, name);
  return Float32Array.from({ length: size }, () => random.normal());
}

/** Rows × inner and the weight's other side: within a tile, over its edges, few rows, and several panels for both threads. */
const SHAPES = [
  [1, 8, 8],
  [3, 130, 70],
  [5, 67, 33],
  [9, 64, 48],
  [37, 300, 131],
  [128, 256, 384],
] as const;

type Shape = (typeof SHAPES)[number];

/** Draws with some in every other row that are hundreds of times as large: at either end, and side by side. */
function drawsWithOutliers(name: string, rows: number, columns: number): Float32Array {
  const values = draws(name, rows * columns);
  if (columns < 64) return values;
  for (let row = 0; row < rows; row += 2) {
    for (const at of [0, 31, 32, columns - 1]) values[row * columns + at]! *= 300;
  }
  return values;
}

/** x·Wᵀ and dY·W on the current backend. */
function products([rows, inner, outer]: Shape, weight: FrozenWeight) {
  return tf.tidy(() => {
    const x = tf.tensor2d(drawsWithOutliers('x', rows, inner), [rows, inner]);
    const dy = tf.tensor2d(drawsWithOutliers('dy', rows, outer), [rows, outer]);
    const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => ops.linear(x as tf.Tensor2D, weight))(x, dy) as never;
    return [(value as tf.Tensor).dataSync(), (grad as tf.Tensor).dataSync()] as [Float32Array, Float32Array];
  });
}

/** |value|, without the slow global of a test's sandbox. */
const size = (value: number) => (value < 0 ? -value : value);

/**
 * How y differs from x·Wᵀ, in units of what rounding the rows of x to 8 bits may change: half a step of the row by the sizes of W's values.
 * The steps reach to 12 times the mean size of the row's values; what is beyond is not rounded.
 * @param x [rows, inner] @param w [outer, inner] @returns the largest, and the root of the mean square
 */
function errors(y: Float32Array, x: Float32Array, w: Float32Array, inner: number): [largest: number, typical: number] {
  const outer = w.length / inner;
  let [largest, squares] = [0, 0];
  for (let n = 0; n < y.length; n++) {
    const [row, column] = [Math.floor(n / outer) * inner, (n % outer) * inner];
    let [product, sizes, most, sum] = [0, 0, 0, 0];
    for (let i = 0; i < inner; i++) {
      const [a, b] = [x[row + i]!, w[column + i]!];
      product += a * b;
      sizes += size(b);
      sum += size(a);
      if (size(a) > most) most = size(a);
    }
    most = Math.min(most, (12 * sum) / inner);
    // The result itself is rounded to bf16.
    const error = Math.max(0, size(y[n]! - product) - 2 ** -9 * size(product)) / ((most / 127 / 2) * sizes);
    largest = Math.max(largest, error);
    squares += error ** 2;
  }
  return [largest, Math.sqrt(squares / y.length)];
}

/** Values that are their own codes: integers up to 127, which the first of each row is, so that the row's scale is 1. */
function codesAsValues(name: string, rows: number, columns: number): Float32Array {
  const random = keyedRandom(3, name);
  return Float32Array.from({ length: rows * columns }, (_, i) =>
    i % columns ? Math.floor(255 * random.next()) - 127 : 127,
  );
}

/** x·Wᵀ of integers, below 2²⁴. @param x [rows, inner] @param w [outer, inner] */
function integerProduct(x: Float32Array, w: Int8Array, rows: number, inner: number): Float32Array {
  const outer = w.length / inner;
  return Float32Array.from({ length: rows * outer }, (_, n) => {
    const [row, column] = [Math.floor(n / outer) * inner, (n % outer) * inner];
    let sum = 0;
    for (let i = 0; i < inner; i++) sum += x[row + i]! * w[column + i]!;
    return sum;
  });
}

const transposed = (w: Float32Array, columns: number) =>
  w.map((_, i) => w[(i % (w.length / columns)) * columns + Math.floor(i / (w.length / columns))]!);

(problem ? describe.skip : describe)('quantised weights on the native backend', () => {
  beforeAll(() => useNative());

  describe.each(SHAPES)('[%d, %d] to %d', (rows, inner, outer) => {
    const shape = [rows, inner, outer] as const as unknown as Shape;
    const values = draws('w', inner * outer);

    test('int8: no further from the dequantised weight than rounding rows to 8 bits allows, and on average much nearer', () => {
      const weight = FrozenWeight.pack('w', [outer, inner], values, 'int8');
      const { codes, scales } = weight.data as Int8Values;
      const [y, dx] = products(shape, weight);
      const w = Float32Array.from(codes, (code, i) => code * scales[Math.floor(i / inner)]!);
      // The scales go into dY before its rows are rounded: what is multiplied are codes.
      const dy = drawsWithOutliers('dy', rows, outer).map((value, i) => value * scales[i % outer]!);
      for (const [largest, typical] of [
        errors(y, drawsWithOutliers('x', rows, inner), w, inner),
        errors(dx, dy, transposed(Float32Array.from(codes), inner), outer),
      ]) {
        expect(largest).toBeLessThan(1);
        // Errors of either sign cancel, the more the more there are.
        expect(typical).toBeLessThan(2 / Math.sqrt(Math.min(inner, outer)));
      }
    });

    test('nf4: the products of the matrix in bf16', () => {
      const weight = FrozenWeight.pack('w', [outer, inner], values, 'nf4');
      const bf16 = new FrozenWeight(
        'w',
        [outer, inner],
        bfloat16FromFloat32(tf.tidy(() => weight.tensor().dataSync()) as Float32Array),
      );
      expect(products(shape, weight)).toEqual(products(shape, bf16));
    });
  });

  test.each(['int8', 'nf4'] as const)(
    '%s: a row that is not finite gives no finite value, and touches no other',
    (format) => {
      const weight = FrozenWeight.pack('w', [48, 64], draws('w', 48 * 64), format);
      for (const broken of [Number.NaN, Infinity]) {
        const x = draws('x', 10 * 64);
        x[3 * 64 + 7] = broken;
        const y = tf.tidy(() => ops.linear(tf.tensor2d(x, [10, 64]), weight).dataSync());
        for (const [i, value] of y.entries()) expect(Number.isFinite(value)).toBe(Math.floor(i / 48) !== 3);
      }
    },
  );

  test.each(SHAPES)('int8, [%d, %d] to %d: sums are exact, on whichever units', (rows, inner, outer) => {
    const weight = FrozenWeight.pack('w', [outer, inner], codesAsValues('w', outer, inner), 'int8');
    const [x, dy] = [codesAsValues('x', rows, inner), codesAsValues('dy', rows, outer)];
    const exact = tf.tidy(() => {
      const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => ops.linear(x as tf.Tensor2D, weight))(
        tf.tensor2d(x, [rows, inner]),
        tf.tensor2d(dy, [rows, outer]),
      );
      return [value.dataSync(), grad.dataSync()];
    });
    const { codes } = weight.data as Int8Values;
    const expected = [
      integerProduct(x, codes, rows, inner),
      integerProduct(dy, Int8Array.from(transposed(Float32Array.from(codes), inner)), rows, outer),
    ];
    // The result itself is bf16. Bytes, as the difference of thousands of numbers takes minutes to print.
    const bytes = (values: ArrayLike<number>) => Buffer.from(bfloat16FromFloat32(Float32Array.from(values)).buffer);
    for (const i of [0, 1]) expect(bytes(exact[i]!).equals(bytes(expected[i]!))).toBe(true);
  });

  test('rows of zeros, and of values near the smallest, give zeros', () => {
    const weight = FrozenWeight.pack('w', [48, 64], draws('w', 48 * 64), 'int8');
    const x = new Float32Array(12 * 64).fill(1e-39, 6 * 64);
    expect(tf.tidy(() => ops.linear(tf.tensor2d(x, [12, 64]), weight).dataSync())).toEqual(new Float32Array(12 * 48));
  });

  test.each(['int8', 'nf4'] as const)('%s as the head: the loss of its matrix in bf16', (format) => {
    const weight = FrozenWeight.pack('head', [40, 64], draws('w', 40 * 64), format);
    const matrix = tf.tidy(() => weight.tensor().dataSync()) as Float32Array;
    const bf16 = new FrozenWeight('head', [40, 64], bfloat16FromFloat32(matrix));
    const targets = Int32Array.from({ length: 9 }, (_, i) => (7 * i) % 40);
    const lossOf = (head: FrozenWeight) =>
      tf.tidy(() => ops.linearCrossEntropy(tf.tensor2d(draws('h', 9 * 64), [9, 64]), head, targets, false).dataSync());
    expect(lossOf(weight)).toEqual(lossOf(bf16));
  });

  test('LoRA learns beside them what it learns beside bf16, and leaves no tensor', async () => {
    const { folder, dispose } = await tinyModel({ dtype: 'BF16', width: 64, inner: 96, vocabulary: 64 });
    const train = async (weights: 'bf16' | 'int8' | 'nf4') => {
      const model = await loadModel(folder, { weights });
      const live: number[] = [];
      const run = await fineTune({
        model,
        data: tinyData({ examples: 24, validation: 8 }),
        adapter: lora({ rank: 4, targets: 'all-linear' }),
        optimizer: adamw({ learningRate: 2e-2 }),
        steps: 12,
        batchSize: 8,
        onProgress: (event) => event.kind === 'step' && live.push(tf.memory().numTensors),
      });
      const [before, after] = [run.evaluations[0]!.loss, run.evaluations.at(-1)!.loss];
      run.dispose();
      await model.dispose();
      expect(new Set(live.slice(1)).size).toBe(1);
      return { before, after };
    };
    const bf16 = await train('bf16');
    expect(bf16.after).toBeLessThan(0.9 * bf16.before);
    expect(Math.abs((await train('int8')).after / bf16.after - 1)).toBeLessThan(0.01);
    expect(Math.abs((await train('nf4')).after / bf16.after - 1)).toBeLessThan(0.05);
    await dispose();
  });
});

if (problem) test.skip(problem, () => useBackend());
