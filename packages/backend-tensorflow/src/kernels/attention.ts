import type { ops } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import { worthCompiling } from '../compiled/compiled-kernel.js';
import { heldTensor } from '../held-tensors.js';
import { type Held, TYPE, type TypeNumber } from '../node-binding.js';
import { RawCall } from '../raw-call.js';
import { attentionScores } from './attention-scores.js';

interface AttentionAttributes {
  readonly mask: ops.CausalMask;
  readonly scale: number;
}
type Tensors = Record<'q' | 'k' | 'v' | 'dy' | 'logSum', tf.TensorInfo>;

/** Queries of a block. Keys behind its last query are not multiplied. */
const BLOCK = 128;
/** Scores are compiled for numbers of queries and keys that are multiples of this. */
const STEP = 64;
/** Scores that may exist at a time: 32 Mi values are 128 MiB. */
const SCORE_VALUES = 32 * 1024 * 1024;
/** Behind every other position. */
const PADDING = 1e9;

/** Queries [from, to) of every row of the batch, and the keys [0, keys) that they may see. */
export interface Block {
  readonly from: number;
  readonly to: number;
  readonly keys: number;
}

/**
 * @param past keys before the first query
 * @param perQuery scores of a query: batch · heads · keys
 */
export function blocksOf(
  queries: number,
  keys: number,
  past: number,
  perQuery: number,
  { step = 1, limit = SCORE_VALUES } = {},
): Block[] {
  const size = Math.min(BLOCK, Math.max(step, Math.floor(limit / perQuery / step) * step));
  return Array.from({ length: Math.ceil(queries / size) }, (_, i) => {
    const to = Math.min(queries, (i + 1) * size);
    return { from: i * size, to, keys: Math.min(keys, ceil(past + to, step)) };
  });
}

const ceil = (length: number, step: number) => Math.ceil(length / step) * step;

/** The matrices of a call: by row of the batch and key-value head, with the query heads that share one stacked (G = H/K). */
class Heads {
  readonly blocks: readonly Block[];
  /** bf16 where all are held so. */
  private readonly type: TypeNumber;
  private readonly batch: number;
  private readonly kvHeads: number;
  private readonly group: number;
  private readonly compile: boolean;
  /** Lengths with the padding that compiled scores need. */
  private readonly queries: number;
  private readonly keys: number;

  constructor(
    private readonly call: RawCall,
    { q, k, v }: Tensors,
    private readonly mask: ops.CausalMask,
  ) {
    const [batch, queries, heads] = q.shape as [number, number, number];
    this.batch = batch;
    this.kvHeads = k.shape[2]!;
    this.group = heads / this.kvHeads;
    this.type = [q, k, v].every((x) => heldTensor(x).dtype === TYPE.bfloat16) ? TYPE.bfloat16 : TYPE.float32;
    // A few queries over a cache that grows would compile anew for every token.
    this.compile = queries >= STEP && worthCompiling([batch, heads, queries, mask.keys]);
    const step = this.compile ? STEP : 1;
    [this.queries, this.keys] = [ceil(queries, step), ceil(mask.keys, step)];
    const past = mask.keys - mask.queries;
    this.blocks = blocksOf(this.queries, this.keys, past, batch * heads * this.keys, { step });
  }

  /** [B, T, H, D] as [B, H, T, D], padded. */
  ofQueries(x: tf.TensorInfo): Held {
    return this.call.padded(this.byHead(x), 2, this.queries);
  }

  ofKeys(x: tf.TensorInfo): Held {
    return this.call.padded(this.byHead(x), 2, this.keys);
  }

  private byHead(x: tf.TensorInfo): Held {
    return this.call.transpose(this.call.cast(heldTensor(x), this.type), 0, 2, 1, 3);
  }

  /** A block's part of what has a row for every query: [B, H, T, n] to [B, K, G·T, n]. */
  stacked(part: RawCall, x: Held, { from, to }: Block): Held {
    return part.reshape(part.slice(x, 2, from, to - from), this.batch, this.kvHeads, -1, x.shape[3]!);
  }

  /** The inverse of `stacked`, for all blocks, without padding. */
  unstacked(parts: readonly Held[]): Held {
    const { call, batch, kvHeads, group, mask } = this;
    const blocks = parts.map((x) => call.reshape(x, batch, kvHeads * group, -1, x.shape[3]!));
    return call.slice(call.concat(blocks, 2), 2, 0, mask.queries);
  }

  /** [B, H, T, D] with or without padding as [B, T, H, D]. */
  tensor(x: Held, length: number): tf.Tensor {
    const { call } = this;
    return call.tensor(call.transpose(call.slice(call.cast(x, this.type), 2, 0, length), 0, 2, 1, 3));
  }

  /** Runs the kernel of a block's scores. @param rows what stands before documents and positions in its inputs */
  scores(part: RawCall, which: 'probabilities' | 'gradients', block: Block, rows: readonly Held[], scale: number) {
    const whole = [...this.positions(part, block), part.upload([], TYPE.float32, Float32Array.of(scale))];
    const documents = this.documents(part, block);
    const kernel = attentionScores[documents.length > 0 ? (`${which}OfDocuments` as const) : which];
    return kernel.run(part, [...rows, ...documents], whole, this.compile);
  }

  /** Of the stacked queries [G·T, 1] and of the keys [keys]. */
  private positions(part: RawCall, { from, to, keys }: Block): Held[] {
    const { mask, group } = this;
    const past = mask.keys - mask.queries;
    const at = Float32Array.from({ length: group * (to - from) }, (_, i) => {
      const query = from + (i % (to - from));
      return query < mask.queries ? past + query : PADDING;
    });
    const key = Float32Array.from({ length: keys }, (_, i) => (i < mask.keys ? i : PADDING));
    return [part.upload([at.length, 1], TYPE.float32, at), part.upload([keys], TYPE.float32, key)];
  }

  /** Of the stacked queries [B, 1, G·T, 1] and of the keys [B, 1, 1, keys]; none where every row is one. */
  private documents(part: RawCall, { from, to, keys }: Block): Held[] {
    const { mask, group, batch } = this;
    const { segments } = mask;
    if (!segments) return [];
    const rows = group * (to - from);
    const past = mask.keys - mask.queries;
    const at = (row: number, position: number) => segments[row * mask.keys + Math.min(position, mask.keys - 1)]!;
    const ofQueries = Float32Array.from({ length: batch * rows }, (_, i) =>
      at(Math.floor(i / rows), past + from + (i % (to - from))),
    );
    const ofKeys = Float32Array.from({ length: batch * keys }, (_, i) => at(Math.floor(i / keys), i % keys));
    return [
      part.upload([batch, 1, rows, 1], TYPE.float32, ofQueries),
      part.upload([batch, 1, 1, keys], TYPE.float32, ofKeys),
    ];
  }
}

/**
 * LftAttention: products by row of the batch and head, a block of queries at a time.
 * @returns [B, Tq, H, D], and log Σ e^score [B, H, Tq]
 */
export function attention(inputs: Tensors, { mask, scale }: AttentionAttributes): tf.Tensor[] {
  return RawCall.run((call) => {
    const heads = new Heads(call, inputs, mask);
    const [q, k, v] = [heads.ofQueries(inputs.q), heads.ofKeys(inputs.k), heads.ofKeys(inputs.v)];
    const outputs: Held[] = [];
    const logSums: Held[] = [];
    for (const block of heads.blocks) {
      // The scores of a block are freed before the next.
      RawCall.run((part) => {
        const [keys, values] = [part.slice(k, 2, 0, block.keys), part.slice(v, 2, 0, block.keys)];
        const s = part.product(heads.stacked(part, q, block), keys, { transposeB: true });
        const [p, logSum] = heads.scores(part, 'probabilities', block, [s], scale);
        outputs.push(part.handOver(part.product(p!, values), call));
        logSums.push(part.handOver(logSum!, call));
      });
    }
    const [batch, queries, count] = inputs.q.shape as [number, number, number];
    const logSum = call.reshape(heads.unstacked(logSums), batch, count, queries);
    return [heads.tensor(heads.unstacked(outputs), queries), call.tensor(logSum)];
  });
}

/**
 * LftAttentionGradients: all three, since they share the probabilities, which are computed again.
 * @returns dq [B, Tq, H, D], dk and dv [B, Tk, K, D]
 */
export function attentionGradients(inputs: Tensors, { mask, scale }: AttentionAttributes): tf.Tensor[] {
  return RawCall.run((call) => {
    const heads = new Heads(call, inputs, mask);
    const [q, d] = [heads.ofQueries(inputs.q), heads.ofQueries(inputs.dy)];
    const [k, v] = [heads.ofKeys(inputs.k), heads.ofKeys(inputs.v)];
    const [batch, count, queries] = inputs.logSum.shape as [number, number, number];
    const logSum = call.padded(call.reshape(call.wide(inputs.logSum), batch, count, queries, 1), 2, q.shape[2]!);
    const dqs: Held[] = [];
    let [dk, dv]: (Held | undefined)[] = [];
    for (const block of heads.blocks) {
      RawCall.run((part) => {
        const [bq, bd] = [heads.stacked(part, q, block), heads.stacked(part, d, block)];
        const [keys, values] = [part.slice(k, 2, 0, block.keys), part.slice(v, 2, 0, block.keys)];
        const s = part.product(bq, keys, { transposeB: true });
        const dp = part.product(bd, values, { transposeB: true });
        const rows = [s, dp, heads.stacked(part, logSum, block)];
        const [p, ds] = heads.scores(part, 'gradients', block, rows, scale);
        /** Adds the block's part to a sum over blocks in f32. */
        const added = (sum: Held | undefined, x: Held) => {
          if (heads.blocks.length === 1) return part.handOver(x, call);
          const whole = part.padded(part.cast(x, TYPE.float32), 2, k.shape[2]!);
          return part.handOver(sum ? part.binary('AddV2', sum, whole) : whole, call);
        };
        dqs.push(part.handOver(part.product(ds!, keys), call));
        dk = added(dk, part.product(ds!, bq, { transposeA: true }));
        dv = added(dv, part.product(p!, bd, { transposeA: true }));
      });
    }
    return [
      heads.tensor(heads.unstacked(dqs), mask.queries),
      heads.tensor(dk!, mask.keys),
      heads.tensor(dv!, mask.keys),
    ];
  });
}
