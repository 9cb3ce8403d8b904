import type { ops } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';

interface AttentionAttributes {
  readonly mask: ops.CausalMask;
  readonly scale: number;
}

/** Scores that may exist at a time: 32 Mi values are 128 MiB. */
const SCORE_VALUES = 32 * 1024 * 1024;

/** Rows [row, row + rows) of the batch and key-value heads [head, head + heads). */
interface Part {
  readonly row: number;
  readonly rows: number;
  readonly head: number;
  readonly heads: number;
}

/** Parts whose scores are at most `limit` values, by rows of the batch and, where a row alone is too large, by heads. */
export function attentionParts(batch: number, kvHeads: number, scoresPerHead: number, limit = SCORE_VALUES): Part[][] {
  const rows = Math.floor(limit / (kvHeads * scoresPerHead));
  const heads = rows >= 1 ? kvHeads : Math.max(1, Math.floor(limit / scoresPerHead));
  const parts: Part[][] = [];
  for (let row = 0; row < batch; row += Math.max(1, rows)) {
    const inRow: Part[] = [];
    for (let head = 0; head < kvHeads; head += heads) {
      inRow.push({
        row,
        rows: Math.min(Math.max(1, rows), batch - row),
        head,
        heads: Math.min(heads, kvHeads - head),
      });
    }
    parts.push(inRow);
  }
  return parts;
}

/** [B, T, H, D] to [B, K, H/K·T, D]: the query heads that share a key-value head are stacked. */
function grouped(x: tf.Tensor4D, kvHeads: number): tf.Tensor4D {
  const [batch, length, heads, width] = x.shape;
  return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch, kvHeads, (heads / kvHeads) * length, width]);
}

/** The inverse of `grouped`. */
function ungrouped(x: tf.Tensor, [batch, length, heads, width]: readonly number[]): tf.Tensor4D {
  return tf.transpose(tf.reshape(x, [batch!, heads!, length!, width!]), [0, 2, 1, 3]) as tf.Tensor4D;
}

function take(x: tf.Tensor4D, { row, rows, head, heads }: Part): tf.Tensor4D {
  if (rows === x.shape[0] && heads === x.shape[1]) return x;
  return tf.slice(x, [row, head, 0, 0], [rows, heads, -1, -1]);
}

function joined(parts: tf.Tensor[][]): tf.Tensor {
  const rows = parts.map((inRow) => (inRow.length === 1 ? inRow[0]! : tf.concat(inRow, 1)));
  return rows.length === 1 ? rows[0]! : tf.concat(rows, 0);
}

/** [rows or 1, 1, Tq, Tk] */
function maskOf({ row, rows }: Part, mask: ops.CausalMask): tf.Tensor {
  // Without documents one mask serves every row.
  const own = Array.from({ length: mask.segments ? rows : 1 }, (_, i) => mask.row(row + i));
  return tf.expandDims(tf.stack(own), 1);
}

/** softmax(scale·q·kᵀ + mask): [rows, heads, G·Tq, Tk] */
function probabilities(q: tf.Tensor4D, k: tf.Tensor4D, part: Part, { mask, scale }: AttentionAttributes): tf.Tensor {
  return tf.tidy(() => {
    const scores = tf.matMul(tf.mul(q, scale), k, false, true);
    if (mask.seesAll) return tf.softmax(scores);
    const [queries, keys] = [mask.queries, mask.keys];
    const stacked = tf.reshape(scores, [part.rows, -1, queries, keys]);
    return tf.reshape(tf.softmax(tf.add(stacked, maskOf(part, mask))), scores.shape);
  });
}

function partsOf(q: tf.Tensor, k: tf.Tensor): Part[][] {
  const [batch, queries, heads] = q.shape as [number, number, number];
  const [, keys, kvHeads] = k.shape as [number, number, number];
  return attentionParts(batch, kvHeads, (heads / kvHeads) * queries * keys);
}

/**
 * LftAttention: batched products over rows of the batch and heads, in parts. Every product is a dispatch, and the reference has one for
 * each head.
 * @returns [B, Tq, H, D], and [1] in place of the scores' log-sums, which the gradient here does not use
 */
export function batchedAttention(inputs: tf.NamedTensorInfoMap, attributes: AttentionAttributes): tf.Tensor[] {
  const [q, k, v] = [inputs.q, inputs.k, inputs.v] as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
  return tf.tidy(() => {
    const kvHeads = k.shape[2];
    const [qs, ks, vs] = [grouped(q, kvHeads), grouped(k, kvHeads), grouped(v, kvHeads)];
    const outputs = partsOf(q, k).map((inRow) =>
      inRow.map((part) =>
        tf.tidy(() => tf.matMul(probabilities(take(qs, part), take(ks, part), part, attributes), take(vs, part))),
      ),
    );
    return [ungrouped(joined(outputs), q.shape), tf.zeros([1])];
  });
}

/**
 * LftAttentionGradients: all three, since they share the probabilities, which are computed again.
 * @returns dq [B, Tq, H, D], dk and dv [B, Tk, K, D]
 */
export function batchedAttentionGradients(inputs: tf.NamedTensorInfoMap, attributes: AttentionAttributes): tf.Tensor[] {
  const [q, k, v, dy] = [inputs.q, inputs.k, inputs.v, inputs.dy] as [
    tf.Tensor4D,
    tf.Tensor4D,
    tf.Tensor4D,
    tf.Tensor4D,
  ];
  return tf.tidy(() => {
    const kvHeads = k.shape[2];
    const [qs, ks, vs, ds] = [grouped(q, kvHeads), grouped(k, kvHeads), grouped(v, kvHeads), grouped(dy, kvHeads)];
    const results = partsOf(q, k).map((inRow) =>
      inRow.map((part) =>
        tf.tidy(() => {
          const [pq, pk, pv, d] = [take(qs, part), take(ks, part), take(vs, part), take(ds, part)];
          const p = probabilities(pq, pk, part, attributes);
          // dS = P∘(dP − rowsum(dP∘P))·scale, dP = dO·Vᵀ
          const dp = tf.matMul(d, pv, false, true);
          const sums = tf.sum(tf.mul(dp, p), -1, true);
          const dScores = tf.mul(tf.mul(p, tf.sub(dp, sums)), attributes.scale);
          return [tf.matMul(dScores, pk), tf.matMul(dScores, pq, true), tf.matMul(p, d, true)] as const;
        }),
      ),
    );
    const whole = (which: 0 | 1 | 2, shape: number[]) =>
      ungrouped(joined(results.map((inRow) => inRow.map((triple) => triple[which]))), shape);
    return [whole(0, q.shape), whole(1, k.shape), whole(2, v.shape)];
  });
}
