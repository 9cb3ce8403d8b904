import { availableParallelism } from 'node:os';
import { bfloat16FromFloat32, float32FromBFloat16, keyedRandom } from '@lft/core';
import type { Addon } from './addon.js';
import { nativeProblem } from './index.js';
import { loadAddon } from './load-addon.js';

interface Shape {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly width: number;
  /** [batch × keys] */
  readonly segments?: Int32Array;
}
type Arrays = Record<string, Float64Array>;
type Type = 'f32' | 'bf16';

/** Standard normal values that the type can hold. */
function draw(name: string, size: number, type: Type): Float64Array {
  const random = keyedRandom(3, name);
  return Float64Array.from({ length: size }, () => {
    const value = random.normal();
    return type === 'bf16' ? float32FromBFloat16(bfloat16FromFloat32(Float32Array.of(value)))[0]! : Math.fround(value);
  });
}

/** Attention and the gradients of Σ dO∘O, one query at a time in f64. */
function reference(shape: Shape, scale: number, x: Arrays): Arrays {
  const { batch, queries, keys, heads, kvHeads, width, segments } = shape;
  const [q, k, v, dO] = [x.q!, x.k!, x.v!, x.dO!];
  const [o, dq] = [new Float64Array(q.length), new Float64Array(q.length)];
  const [dk, dv] = [new Float64Array(k.length), new Float64Array(k.length)];
  const logSum = new Float64Array(batch * heads * queries);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < queries; t++) {
        const own = t + keys - queries;
        const at = ((b * queries + t) * heads + h) * width;
        const seen = Array.from({ length: own + 1 }, (_, s) => s).filter(
          (s) => !segments || segments[b * keys + s] === segments[b * keys + own],
        );
        const rows = seen.map((s) => ((b * keys + s) * kvHeads + Math.floor((h * kvHeads) / heads)) * width);
        const dot = (a: Float64Array, i: number, c: Float64Array, j: number) => {
          let sum = 0;
          for (let d = 0; d < width; d++) sum += a[i + d]! * c[j + d]!;
          return sum;
        };
        const scores = rows.map((row) => scale * dot(q, at, k, row));
        const maximum = Math.max(...scores);
        const log = maximum + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - maximum), 0));
        logSum[(b * heads + h) * queries + t] = log;
        const p = scores.map((score) => Math.exp(score - log));
        const dp = rows.map((row) => dot(dO, at, v, row));
        const delta = p.reduce((sum, value, i) => sum + value * dp[i]!, 0);
        for (const [i, row] of rows.entries()) {
          const ds = p[i]! * (dp[i]! - delta) * scale;
          for (let d = 0; d < width; d++) {
            o[at + d]! += p[i]! * v[row + d]!;
            dq[at + d]! += ds * k[row + d]!;
            dk[row + d]! += ds * q[at + d]!;
            dv[row + d]! += p[i]! * dO[at + d]!;
          }
        }
      }
    }
  }
  return { o, logSum, dq, dk, dv };
}

/** The same by the addon. */
function native(addon: Addon, shape: Shape, type: Type, scale: number, x: Arrays): Arrays {
  const { batch, queries, keys, heads, kvHeads, width, segments } = shape;
  const blocks: number[] = [];
  const block = (bytes: number) => {
    blocks.push(addon.alloc(bytes));
    return blocks.at(-1)!;
  };
  const put = (values: Float64Array) => {
    const pointer = block(4 * values.length);
    const f32 = Float32Array.from(values);
    addon.write(pointer, type === 'bf16' ? bfloat16FromFloat32(f32) : f32);
    return pointer;
  };
  const take = (pointer: number, size: number) =>
    type === 'bf16'
      ? Float64Array.from(float32FromBFloat16(new Uint16Array(addon.read(pointer, 2 * size))))
      : Float64Array.from(new Float32Array(addon.read(pointer, 4 * size)));
  const [q, k, v, dO] = [put(x.q!), put(x.k!), put(x.v!), put(x.dO!)];
  const [querySize, keySize, rows] = [x.q!.length, x.k!.length, batch * heads * queries];
  const [o, dq, dk, dv] = [block(4 * querySize), block(4 * querySize), block(4 * keySize), block(4 * keySize)];
  const logSum = block(4 * rows);
  const sizes = [batch, queries, keys, heads, kvHeads, width, scale, segments ?? 0, Number(type === 'bf16')] as const;
  addon.attention(q, k, v, o, logSum, ...sizes);
  addon.attentionGradients(dO, q, k, v, o, logSum, dq, dk, dv, ...sizes);
  const result = {
    o: take(o, querySize),
    logSum: Float64Array.from(new Float32Array(addon.read(logSum, 4 * rows))),
    dq: take(dq, querySize),
    dk: take(dk, keySize),
    dv: take(dv, keySize),
  };
  for (const pointer of blocks) addon.release(pointer);
  return result;
}

/** The largest error as a part of the largest value. */
function error(actual: Float64Array, expected: Float64Array): number {
  let [worst, largest] = [0, 0];
  for (const [i, value] of expected.entries()) {
    const difference = Math.abs(actual[i]! - value);
    if (!(difference <= worst)) worst = difference;
    largest = Math.max(largest, Math.abs(value));
  }
  return largest === 0 ? worst : worst / largest;
}

const EQUAL = { batch: 2, heads: 2, kvHeads: 2 };
const GROUPED = { batch: 2, heads: 6, kvHeads: 2 };
const CASES: Record<string, Shape> = {
  'one token': { ...GROUPED, queries: 1, keys: 1, width: 64 },
  'less than a tile': { ...EQUAL, queries: 7, keys: 7, width: 8 },
  'a tile and a row': { ...GROUPED, queries: 33, keys: 33, width: 80 },
  'whole tiles': { batch: 1, heads: 3, kvHeads: 1, queries: 256, keys: 256, width: 64 },
  'wide heads': { batch: 1, heads: 3, kvHeads: 1, queries: 70, keys: 70, width: 128 },
  'heads of an odd width': { ...GROUPED, queries: 33, keys: 33, width: 5 },
  'so many heads that no group is split': { batch: 16, heads: 4, kvHeads: 2, queries: 20, keys: 20, width: 16 },
  'documents and padding': {
    ...GROUPED,
    queries: 100,
    keys: 100,
    width: 64,
    segments: Int32Array.from(
      { length: 200 },
      (_, i) => [0, 0, 0, 1, 2, 2, 2, 2, 3, -1, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2][Math.floor(i / 10)]!,
    ),
  },
  'documents of a few tokens': {
    ...EQUAL,
    queries: 90,
    keys: 90,
    width: 32,
    segments: Int32Array.from({ length: 180 }, (_, i) => Math.floor(Math.sqrt(2 * i))),
  },
  'a document that ends within a tile, behind a block of keys': {
    ...GROUPED,
    queries: 139,
    keys: 139,
    width: 64,
    segments: Int32Array.from({ length: 278 }, (_, i) => (i < 82 || i >= 139 ? 0 : -1)),
  },
  'more keys than a tile holds': { batch: 1, heads: 2, kvHeads: 1, queries: 300, keys: 700, width: 64 },
  'past keys': { ...GROUPED, queries: 21, keys: 58, width: 64 },
  'past keys in documents': {
    ...GROUPED,
    queries: 21,
    keys: 58,
    width: 64,
    segments: Int32Array.from({ length: 116 }, (_, i) => Math.floor(i / 23)),
  },
  'one query and past keys': { ...GROUPED, queries: 1, keys: 700, width: 64 },
  'one query of a document': {
    ...GROUPED,
    queries: 1,
    keys: 700,
    width: 24,
    segments: Int32Array.from({ length: 1400 }, (_, i) => Math.floor(i / 300)),
  },
};

/**
 * f32: a few units in the last place, 6e-8, of sums of up to 700 terms. bf16: inputs are exact, results and, inside, P and dS are rounded to
 * 8 bits (2⁻⁹ = 2e-3 of each); delta is taken from the rounded O.
 */
const TOLERANCE = { f32: 2e-6, bf16: 1e-2 };
const LOG_SUM_TOLERANCE = 1e-6;

function inputs({ batch, queries, keys, heads, kvHeads, width }: Shape, type: Type): Arrays {
  const [querySize, keySize] = [batch * queries * heads * width, batch * keys * kvHeads * width];
  return {
    q: draw('q', querySize, type),
    k: draw('k', keySize, type),
    v: draw('v', keySize, type),
    dO: draw('dO', querySize, type),
  };
}

const problem = nativeProblem();
(problem ? describe.skip : describe)('attention in the addon, forward and gradients', () => {
  const cases = Object.keys(CASES).flatMap((name) => [[name, 'f32'] as const, [name, 'bf16'] as const]);
  test.each(cases)('is that of f64: %s, %s', (name, type) => {
    const shape = CASES[name]!;
    const x = inputs(shape, type);
    const scale = 1 / Math.sqrt(shape.width);
    // What an earlier call left in scratch memory is not to be read.
    const poison = Object.fromEntries(Object.entries(x).map(([key, values]) => [key, values.map(() => Number.NaN)]));
    native(loadAddon(undefined), shape, type, scale, poison);
    const actual = native(loadAddon(undefined), shape, type, scale, x);
    for (const [result, expected] of Object.entries(reference(shape, scale, x))) {
      const within = result === 'logSum' ? LOG_SUM_TOLERANCE : TOLERANCE[type];
      const worst = error(actual[result]!, expected);
      if (!(worst <= within)) throw new Error(`${result} is wrong by ${worst}, more than ${within}`);
    }
  });

  test.each(['one token', 'wide heads', 'so many heads that no group is split', 'one query and past keys'])(
    'has the same bits on one thread and on all: %s',
    (name) => {
      const shape = CASES[name]!;
      const x = inputs(shape, 'bf16');
      const [one, all] = [1, availableParallelism()].map((threads) =>
        native(loadAddon(threads), shape, 'bf16', 0.1, x),
      );
      for (const result of Object.keys(one!)) {
        expect(Buffer.from(all![result]!.buffer).equals(Buffer.from(one![result]!.buffer))).toBe(true);
      }
    },
  );
});
