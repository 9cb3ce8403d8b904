import type { ops } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { heldTensor } from '../held-tensors.js';
import { type Held, TYPE, type TypeNumber } from '../node-binding.js';
import { RawCall } from '../raw-call.js';

interface AttentionAttributes {
  readonly mask: ops.CausalMask;
  readonly scale: number;
}
type Tensors = Record<'q' | 'k' | 'v' | 'dy', tf.TensorInfo>;

/** Queries of a block. Keys behind its last query are not multiplied. */
const BLOCK = 128;
/** Scores that may exist at a time: 32 Mi values are 128 MiB. */
const SCORE_VALUES = 32 * 1024 * 1024;

/** Queries [from, to) of every row of the batch, and the keys [0, keys) that they may see. */
export interface Block {
  readonly from: number;
  readonly to: number;
  readonly keys: number;
}

/** @param perQuery scores of a query: batch · heads · keys */
export function blocksOf(queries: number, keys: number, perQuery: number, limit = SCORE_VALUES): Block[] {
  const size = Math.max(1, Math.min(BLOCK, Math.floor(limit / perQuery)));
  return Array.from({ length: Math.ceil(queries / size) }, (_, i) => {
    const to = Math.min(queries, (i + 1) * size);
    return { from: i * size, to, keys: keys - queries + to };
  });
}

/** [B, T, H, D] as [B, H, T, D], in a type. */
function byHead(call: RawCall, x: tf.TensorInfo, type: TypeNumber): Held {
  return call.transpose(call.cast(heldTensor(x), type), 0, 2, 1, 3);
}

/** A block's part of x [B, H, T, D]: [B, K, H/K·T, D]. The query heads that share a key-value head are stacked. */
function stacked(call: RawCall, x: Held, { from, to }: Block, kvHeads: number): Held {
  const [batch, heads, , width] = x.shape as [number, number, number, number];
  return call.reshape(call.slice(x, 2, from, to - from), batch, kvHeads, (heads / kvHeads) * (to - from), width);
}

/** The inverse of `stacked` and of `byHead` for all blocks. @returns [B, T, H, D] */
function joined(call: RawCall, parts: readonly Held[], [batch, , heads, width]: readonly number[]): tf.Tensor {
  const blocks = parts.map((part) => call.reshape(part, batch!, heads!, -1, width!));
  return call.tensor(call.transpose(call.concat(blocks, 2), 0, 2, 1, 3));
}

/** [B or 1, 1, Tq, Tk] f32: without documents one mask serves every row. */
function maskOf(call: RawCall, mask: ops.CausalMask): Held | undefined {
  if (mask.seesAll) return undefined;
  const rows = Array.from({ length: mask.segments ? mask.batch : 1 }, (_, row) => heldTensor(mask.row(row)));
  return call.reshape(call.concat(rows, 0), rows.length, 1, mask.queries, mask.keys);
}

/** softmax(q·kᵀ + mask) for a block: [B, K, G·T, keys] f32. */
function probabilities(call: RawCall, q: Held, k: Held, mask: Held | undefined, { from, to, keys }: Block): Held {
  const scores = call.cast(call.product(q, k, { transposeB: true }), TYPE.float32);
  if (!mask) return call.softmax(scores);
  const seen = call.slice(call.slice(mask, 2, from, to - from), 3, 0, keys);
  const heads = call.reshape(scores, q.shape[0]!, -1, to - from, keys);
  return call.reshape(call.softmax(call.binary('AddV2', heads, seen)), ...scores.shape);
}

/** bf16 where all are held so. */
function commonType(...tensors: readonly tf.TensorInfo[]): TypeNumber {
  return tensors.every((x) => heldTensor(x).dtype === TYPE.bfloat16) ? TYPE.bfloat16 : TYPE.float32;
}

function geometry(q: tf.TensorInfo, k: tf.TensorInfo) {
  const [batch, queries, heads] = q.shape as [number, number, number];
  const [, keys, kvHeads] = k.shape as [number, number, number];
  return { keys, kvHeads, blocks: blocksOf(queries, keys, batch * heads * keys) };
}

/**
 * LftAttention: products by row of the batch and head, a block of queries at a time.
 * @returns [B, Tq, H, D], and [1] in place of the scores' log-sums, which the gradient here does not use
 */
export function attention({ q, k, v }: Tensors, { mask, scale }: AttentionAttributes): tf.Tensor[] {
  return RawCall.run((call) => {
    const type = commonType(q, k, v);
    const { kvHeads, blocks } = geometry(q, k);
    const [ks, vs] = [byHead(call, k, type), byHead(call, v, type)];
    const qs = call.scaled(byHead(call, q, type), scale);
    const rows = maskOf(call, mask);
    const outputs = blocks.map((block) =>
      RawCall.run((part) => {
        const keys = part.slice(ks, 2, 0, block.keys);
        const p = probabilities(part, stacked(part, qs, block, kvHeads), keys, rows, block);
        return call.own(part.release(part.product(part.cast(p, type), part.slice(vs, 2, 0, block.keys))));
      }),
    );
    return [joined(call, outputs, q.shape), tf.zeros([1])];
  });
}

/**
 * LftAttentionGradients: all three, since they share the probabilities, which are computed again.
 * @returns dq [B, Tq, H, D], dk and dv [B, Tk, K, D]
 */
export function attentionGradients({ q, k, v, dy }: Tensors, { mask, scale }: AttentionAttributes): tf.Tensor[] {
  return RawCall.run((call) => {
    const type = commonType(q, k, v);
    const { keys, kvHeads, blocks } = geometry(q, k);
    const [ks, vs, ds] = [byHead(call, k, type), byHead(call, v, type), byHead(call, dy, type)];
    const qs = call.scaled(byHead(call, q, type), scale);
    const rows = maskOf(call, mask);
    const dqs: Held[] = [];
    let [dk, dv]: (Held | undefined)[] = [];
    for (const block of blocks) {
      RawCall.run((part) => {
        const [bq, bd] = [stacked(part, qs, block, kvHeads), stacked(part, ds, block, kvHeads)];
        const [bk, bv] = [part.slice(ks, 2, 0, block.keys), part.slice(vs, 2, 0, block.keys)];
        const p = probabilities(part, bq, bk, rows, block);
        // dS = P∘(dP − rowsum(dP∘P)), dP = dO·Vᵀ
        const dp = part.cast(part.product(bd, bv, { transposeB: true }), TYPE.float32);
        const sums = part.sum(part.binary('Mul', dp, p), 3, true);
        const dScores = part.cast(part.binary('Mul', p, part.binary('Sub', dp, sums)), type);
        const keep = (held: Held) => call.own(part.release(held));
        /** Adds the block's part to a sum over blocks in f32. */
        const added = (sum: Held | undefined, x: Held) => {
          const whole = part.padded(part.cast(x, TYPE.float32), 2, keys);
          return keep(sum ? part.binary('AddV2', sum, whole) : whole);
        };
        dqs.push(keep(part.scaled(part.product(dScores, bk), scale)));
        dk = added(dk, part.product(dScores, bq, { transposeA: true }));
        dv = added(dv, part.product(part.cast(p, type), bd, { transposeA: true }));
      });
    }
    const byToken = (x: Held) => call.tensor(call.transpose(call.cast(x, type), 0, 2, 1, 3));
    return [joined(call, dqs, q.shape), byToken(dk!), byToken(dv!)];
  });
}
