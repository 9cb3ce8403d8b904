import type * as tf from '@tensorflow/tfjs-core';
import { opLaws } from '../__testing__/op-laws.js';
import { attention } from './attention.js';
import { CausalMask } from './causal-mask.js';

interface Shape {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly segments?: readonly number[];
}
const WIDTH = 4;
const SCALE = 0.6;

/** softmax(scale·q·k + mask)·v, one output value at a time. */
function formula(shape: Shape, { q, k, v }: Record<string, readonly number[]>): number[] {
  const { batch, queries, keys, heads, kvHeads, segments } = shape;
  const out: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < queries; t++) {
      for (let h = 0; h < heads; h++) {
        const kv = Math.floor((h * kvHeads) / heads);
        const own = t + keys - queries;
        const key = (s: number) => ((b * keys + s) * kvHeads + kv) * WIDTH;
        const seen = Array.from({ length: own + 1 }, (_, s) => s).filter(
          (s) => !segments || segments[b * keys + s] === segments[b * keys + own],
        );
        const scores = seen.map((s) => {
          let dot = 0;
          for (let d = 0; d < WIDTH; d++) dot += q![((b * queries + t) * heads + h) * WIDTH + d]! * k![key(s) + d]!;
          return Math.exp(SCALE * dot);
        });
        const total = scores.reduce((sum, score) => sum + score, 0);
        for (let d = 0; d < WIDTH; d++) {
          out.push(seen.reduce((sum, s, i) => sum + (scores[i]! / total) * v![key(s) + d]!, 0));
        }
      }
    }
  }
  return out;
}

const CASES: Record<string, Shape> = {
  'with one key-value head per query head': { batch: 2, queries: 3, keys: 3, heads: 2, kvHeads: 2 },
  'with grouped key-value heads': { batch: 2, queries: 3, keys: 3, heads: 4, kvHeads: 2 },
  'with one key-value head for all': { batch: 1, queries: 3, keys: 3, heads: 3, kvHeads: 1 },
  'with packed documents and padding': {
    batch: 2,
    queries: 4,
    keys: 4,
    heads: 2,
    kvHeads: 1,
    segments: [0, 0, 1, 1, 0, 0, -1, -1],
  },
  'of a single query with past keys': { batch: 2, queries: 1, keys: 4, heads: 4, kvHeads: 2 },
  'of several queries with past keys': { batch: 1, queries: 2, keys: 5, heads: 2, kvHeads: 2 },
};

for (const [name, shape] of Object.entries(CASES)) {
  const { batch, queries, keys, heads, kvHeads, segments } = shape;
  // As in a pass: one mask, alive until the backward is done.
  const mask = new CausalMask(batch, queries, keys, segments && Int32Array.from(segments));
  afterEach(() => mask.dispose());
  opLaws(`attention ${name}`, {
    inputs: {
      q: [batch, queries, heads, WIDTH],
      k: [batch, keys, kvHeads, WIDTH],
      v: [batch, keys, kvHeads, WIDTH],
    },
    run: ({ q, k, v }) => attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, mask, SCALE),
    reference: (inputs) => formula(shape, inputs),
  });
}
