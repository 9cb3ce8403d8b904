import { bfloat16FromFloat32, FrozenWeight, keyedRandom, ops, useBackend, WEIGHT_FORMATS } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { whereInstalled } from '../__testing__/where-installed.js';
import { nodeBackend } from '../node-binding.js';
import { useTensorFlow } from '../use-tensorflow.js';
import { blocksOf } from './attention.js';

/** Sums of some tens of f32 products, in another order. */
const F32 = 1e-5;
/** Two operands and a result that are each rounded to 8 bits: 2⁻⁹ each, and some slack for sums that cancel. */
const BF16 = 1.5e-2;

function draws(name: string, shape: readonly number[]): Float32Array {
  const random = keyedRandom(5, name);
  return Float32Array.from({ length: tf.util.sizeFromShape([...shape]) }, () => random.normal());
}

type Shapes = Readonly<Record<string, readonly number[]>>;
interface Result {
  readonly y: Float32Array;
  readonly gradients: Float32Array[];
}

/** Value and gradients of Σ w∘y. */
function evaluate(shapes: Shapes, run: (inputs: Record<string, tf.Tensor>) => tf.Tensor): Result {
  return tf.tidy(() => {
    const names = Object.keys(shapes);
    const inputs = names.map((name) => tf.tensor(draws(name, shapes[name]!), [...shapes[name]!], 'float32'));
    const byName = Object.fromEntries(names.map((name, i) => [name, inputs[i]!]));
    const y = run(byName);
    const { grads } = tf.engine().gradients(
      () => {
        const result = run(byName);
        return tf.sum(tf.mul(result, tf.tensor(draws('weights', result.shape), result.shape))) as tf.Scalar;
      },
      inputs,
      undefined,
      true,
    );
    return { y: y.dataSync() as Float32Array, gradients: grads.map((each) => each.dataSync() as Float32Array) };
  });
}

/** Largest difference over the largest value. */
function difference(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  const scale = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  return actual.reduce((max, value, i) => Math.max(max, Math.abs(value - expected[i]!)), 0) / scale;
}

async function compare(shapes: Shapes, run: Parameters<typeof evaluate>[1], within: number): Promise<void> {
  await useBackend('cpu');
  const expected = evaluate(shapes, run);
  await useTensorFlow();
  evaluate(shapes, run);
  const before = [tf.memory().numTensors, nodeBackend().binding.getNumOfTensors()];
  const actual = evaluate(shapes, run);
  expect([tf.memory().numTensors, nodeBackend().binding.getNumOfTensors()]).toEqual(before);
  expect(difference(actual.y, expected.y)).toBeLessThan(within);
  actual.gradients.forEach((gradient, i) => {
    expect(difference(gradient, expected.gradients[i]!)).toBeLessThan(within);
  });
}

const WEIGHT = [24, 16] as const;
const values = draws('frozen', WEIGHT);
const frozen = {
  f32: new FrozenWeight('w', WEIGHT, values),
  bf16: new FrozenWeight('w', WEIGHT, bfloat16FromFloat32(values)),
  int8: FrozenWeight.pack('w', WEIGHT, values, 'int8'),
  nf4: FrozenWeight.pack('w', WEIGHT, values, 'nf4'),
  // 45 values: a block of nf4 that is not full.
  uneven: FrozenWeight.pack('w', [9, 5], values.subarray(0, 45), 'nf4'),
};
const tolerances = { f32: F32, bf16: BF16, int8: BF16, nf4: BF16 };

whereInstalled('the kernels give the reference’s value and gradients, and leave nothing', () => {
  test.each(WEIGHT_FORMATS)('linear, frozen %s weight', (format) =>
    compare({ x: [7, 16] }, ({ x }) => ops.linear(x as tf.Tensor2D, frozen[format]), tolerances[format]),
  );

  test('linear, nf4 weight whose last block is not full', () =>
    compare({ x: [7, 5] }, ({ x }) => ops.linear(x as tf.Tensor2D, frozen.uneven), BF16));

  test.each(WEIGHT_FORMATS)('cross-entropy, frozen %s head, in chunks of rows', (format) => {
    const targets = Int32Array.from({ length: 7 }, (_, n) => (n * 5) % 24);
    return compare(
      { h: [7, 16] },
      ({ h }) => ops.linearCrossEntropy(h as tf.Tensor2D, frozen[format], targets, true, 3 * 24),
      tolerances[format],
    );
  });

  test('cross-entropy, trained head, in chunks of rows', () => {
    const targets = Int32Array.from({ length: 7 }, (_, n) => (n * 5) % 24);
    return compare(
      { h: [7, 16], weight: WEIGHT },
      ({ h, weight }) => ops.linearCrossEntropy(h as tf.Tensor2D, weight as tf.Tensor2D, targets, true, 3 * 24),
      F32,
    );
  });

  test.each<{
    name: string;
    batch: number;
    queries: number;
    keys: number;
    heads: number;
    kvHeads: number;
    segments?: Int32Array;
  }>([
    { name: 'as many heads as key-value heads', batch: 2, queries: 3, keys: 3, heads: 2, kvHeads: 2 },
    { name: 'grouped heads', batch: 2, queries: 5, keys: 5, heads: 6, kvHeads: 2 },
    {
      name: 'documents',
      batch: 2,
      queries: 4,
      keys: 4,
      heads: 2,
      kvHeads: 1,
      segments: Int32Array.of(0, 0, 1, 1, 0, 0, -1, -1),
    },
    { name: 'one query with past keys', batch: 2, queries: 1, keys: 4, heads: 4, kvHeads: 2 },
    { name: 'queries with past keys', batch: 1, queries: 2, keys: 5, heads: 2, kvHeads: 2 },
    { name: 'compiled, with padding', batch: 1, queries: 150, keys: 150, heads: 4, kvHeads: 2 },
    { name: 'compiled, with past keys', batch: 2, queries: 70, keys: 200, heads: 2, kvHeads: 1 },
    {
      name: 'compiled, documents',
      batch: 2,
      queries: 130,
      keys: 130,
      heads: 2,
      kvHeads: 1,
      segments: Int32Array.from({ length: 260 }, (_, i) => (i > 250 ? -1 : Math.floor(i / 50))),
    },
  ])('attention: $name', async ({ batch, queries, keys, heads, kvHeads, segments }) => {
    const shapes = { q: [batch, queries, heads, 4], k: [batch, keys, kvHeads, 4], v: [batch, keys, kvHeads, 4] };
    // As in a pass: one mask, alive until the backward is done.
    const mask = new ops.CausalMask(batch, queries, keys, segments);
    await compare(
      shapes,
      ({ q, k, v }) => ops.attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, mask, 0.6),
      F32,
    );
    mask.dispose();
  });

  test('the rest: norm, rotary, swiglu, embedding, product', async () => {
    await compare({ x: [5, 8], w: [8] }, ({ x, w }) => ops.rmsNorm(x as tf.Tensor2D, w as tf.Tensor1D, 1e-5), F32);
    await compare(
      { gate: [5, 8], up: [5, 8] },
      ({ gate, up }) => ops.swiglu(gate as tf.Tensor2D, up as tf.Tensor2D),
      F32,
    );
    await compare(
      { table: [6, 4] },
      ({ table }) => ops.embedding(table as tf.Tensor2D, tf.tensor1d([1, 5, 1, 0], 'int32')),
      F32,
    );
    await compare(
      { a: [5, 3], b: [4, 5] },
      ({ a, b }) => ops.matmul(a as tf.Tensor2D, b as tf.Tensor2D, { transposeA: true, transposeB: true }),
      F32,
    );
    await compare(
      { x: [5, 2, 4] },
      ({ x }) => ops.rotary(x as tf.Tensor3D, tf.fill([5, 1, 4], 0.8), tf.fill([5, 1, 4], 0.6)),
      F32,
    );
  });

  test('compiled: norm, rotary, swiglu and sums of many rows, whose number is padded', async () => {
    const rows = 530;
    await compare({ x: [rows, 72], w: [72] }, ({ x, w }) => ops.rmsNorm(x as tf.Tensor2D, w as tf.Tensor1D, 1e-5), F32);
    await compare(
      { gate: [rows, 72], up: [rows, 72] },
      ({ gate, up }) => ops.swiglu(gate as tf.Tensor2D, up as tf.Tensor2D),
      F32,
    );
    await compare(
      { x: [rows, 72] },
      ({ x }) => ops.rotary(x as tf.Tensor2D, tf.fill([rows, 1, 24], 0.8), tf.fill([rows, 1, 24], 0.6)),
      F32,
    );
  });

  test('activations beside a bf16 weight are held in bf16, and pass through every op so', () =>
    compare(
      { x: [530, 16], a: [2, 16], b: [24, 2], norm: [16] },
      ({ x, a, b, norm }) => {
        const normed = ops.rmsNorm(x as tf.Tensor2D, norm as tf.Tensor1D, 1e-5, 'bf16');
        const gate = ops.linear(normed, frozen.bf16);
        const up = ops.lowRankUpdate(ops.linear(normed, frozen.bf16), normed, a as tf.Tensor2D, b as tf.Tensor2D, 2);
        const turned = ops.rotary(up, tf.fill([530, 1, 8], 0.8), tf.fill([530, 1, 8], 0.6));
        return ops.add(ops.swiglu(gate, turned), tf.tile(tf.slice(x!, [0, 0], [530, 8]), [1, 3]));
      },
      2 * BF16,
    ));

  test.each(['torch', 'hf_legacy'] as const)('AdamW, %s: parameters and moments in place', async (variant) => {
    const step = (shape: number[]) => {
      const parts = ['parameter', 'm', 'v'].map((name) => {
        const values = draws(name, shape);
        return tf.variable(tf.tensor(name === 'v' ? values.map(Math.abs) : values, shape));
      });
      const [parameter, m, v] = parts as [tf.Variable, tf.Variable, tf.Variable];
      const gradient = tf.tensor(draws('gradient', shape), shape);
      const slot = { parameter, m, v, gradient, step: 3, learningRate: 0.1, weightDecay: 0.2 };
      ops.adamwStep([slot], { beta1: 0.9, beta2: 0.99, epsilon: 1e-3, variant });
      const results = parts.map((part) => part.dataSync() as Float32Array);
      tf.dispose([...parts, gradient]);
      return results;
    };
    for (const shape of [[3, 5], [], [530, 72]]) {
      await useBackend('cpu');
      const expected = step(shape);
      await useTensorFlow();
      step(shape).forEach((values, i) => {
        expect(difference(values, expected[i]!)).toBeLessThan(F32);
      });
    }
  });

  test('other backends keep their own gradients', async () => {
    await useTensorFlow();
    evaluate({ x: [7, 16] }, ({ x }) => ops.linear(x as tf.Tensor2D, frozen.bf16));
    await useBackend('wasm');
    const wasm = evaluate({ x: [7, 16] }, ({ x }) => ops.linear(x as tf.Tensor2D, frozen.bf16));
    await useBackend('cpu');
    const cpu = evaluate({ x: [7, 16] }, ({ x }) => ops.linear(x as tf.Tensor2D, frozen.bf16));
    // bf16 activations would differ by 1e-3.
    expect(difference(wasm.gradients[0]!, cpu.gradients[0]!)).toBeLessThan(F32);
  });
});

test('attention in blocks: the keys that a block may see, and fewer queries where scores are many', () => {
  expect(blocksOf(300, 310, 10, 1)).toEqual([
    { from: 0, to: 128, keys: 138 },
    { from: 128, to: 256, keys: 266 },
    { from: 256, to: 300, keys: 310 },
  ]);
  expect(blocksOf(192, 256, 5, 1, { step: 64 }).map(({ keys }) => keys)).toEqual([192, 256]);
  expect(blocksOf(3, 3, 0, 20, { limit: 50 }).map(({ to }) => to)).toEqual([2, 3]);
  expect(blocksOf(2, 2, 0, 20, { limit: 5 })).toHaveLength(2);
});
