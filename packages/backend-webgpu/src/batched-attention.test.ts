import { keyedRandom, ops, useBackend } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { attentionParts, batchedAttention, batchedAttentionGradients } from './batched-attention.js';

test('value and gradients are those of the reference, to rounding', async () => {
  await useBackend('cpu');
  const [B, T, H, K, D] = [2, 5, 4, 2, 3];
  const mask = new ops.CausalMask(B, T, T, Int32Array.from([0, 0, 0, 1, 1, 0, 0, 0, 0, -1]));
  const make = (name: string, heads: number): tf.Tensor4D => {
    const random = keyedRandom(5, name);
    return tf.tensor4d(
      Float32Array.from({ length: B * T * heads * D }, () => random.normal()),
      [B, T, heads, D],
    );
  };
  const [q, k, v, dy] = [make('q', H), make('k', K), make('v', K), make('dy', H)];
  const attributes = { mask, scale: 0.7 };
  const expected = tf.engine().gradients(() => tf.sum(tf.mul(ops.attention(q, k, v, mask, 0.7), dy)), [q, k, v]);
  const gradients = batchedAttentionGradients({ q, k, v, dy }, attributes);
  const value = tf.sum(tf.mul(batchedAttention({ q, k, v }, attributes)[0]!, dy));
  const largest = [value, ...gradients].map((actual, i) => {
    const reference = i === 0 ? expected.value : expected.grads[i - 1]!;
    expect(actual.shape).toEqual(reference.shape);
    return tf.max(tf.abs(tf.sub(actual, reference))).dataSync()[0]!;
  });
  expect(Math.max(...largest)).toBeLessThan(1e-5);
  mask.dispose();
});

describe('attention in parts', () => {
  test('what fits goes at once', () => {
    expect(attentionParts(2, 3, 10, 60)).toEqual([[{ row: 0, rows: 2, head: 0, heads: 3 }]]);
  });

  test('rows, and heads where a row is too large', () => {
    expect(attentionParts(3, 3, 10, 60)).toEqual([
      [{ row: 0, rows: 2, head: 0, heads: 3 }],
      [{ row: 2, rows: 1, head: 0, heads: 3 }],
    ]);
    expect(attentionParts(1, 3, 10, 20)).toEqual([
      [
        { row: 0, rows: 1, head: 0, heads: 2 },
        { row: 0, rows: 1, head: 2, heads: 1 },
      ],
    ]);
    expect(attentionParts(1, 2, 10, 5)[0]).toHaveLength(2);
  });
});
