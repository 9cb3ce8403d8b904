import * as tf from '@tensorflow/tfjs-core';
import type { CausalMask } from './causal-mask.js';
import { type Op, runIfFused, runOp } from './define-op.js';
import { transposed } from './transposed.js';

type AttentionInputs = { q: tf.Tensor4D; k: tf.Tensor4D; v: tf.Tensor4D };
interface AttentionAttributes {
  readonly mask: CausalMask;
  readonly scale: number;
}

/** The matrices of one row of the batch and one key-value head, with the G query heads that share it stacked. */
interface Group {
  /** [G·Tq, D] */
  readonly q: tf.Tensor2D;
  /** [Tk, D] */
  readonly k: tf.Tensor2D;
  /** [Tk, D] */
  readonly v: tf.Tensor2D;
}

/** [B, T, H, D] to B·K matrices [H/K·T, D]. A plain product per group: batched products are slow on wasm. */
function groups(x: tf.Tensor4D, kvHeads: number): tf.Tensor2D[] {
  const [batch, length, heads, width] = x.shape;
  // A scope of its own: in the backward the tape's scope ends only after the last op's gradient.
  return tf.tidy(() => {
    const rows = (heads / kvHeads) * length;
    const size = rows * width;
    // Read once and cut here: on wasm every slice copies the whole tensor out first.
    const values = tf.transpose(x, [0, 2, 1, 3]).dataSync() as Float32Array;
    return Array.from({ length: batch * kvHeads }, (_, i) =>
      tf.tensor2d(values.subarray(i * size, (i + 1) * size), [rows, width]),
    );
  });
}

/** The inverse of `groups`. */
function ungroup(parts: tf.Tensor2D[], [batch, length, heads, width]: readonly number[]): tf.Tensor4D {
  return tf.transpose(tf.reshape(tf.stack(parts), [batch!, heads!, length!, width!]), [0, 2, 1, 3]) as tf.Tensor4D;
}

/** softmax(scale·q·kᵀ + mask): [G·Tq, Tk] */
function probabilities(group: Group, mask: CausalMask, row: number, scale: number): tf.Tensor2D {
  return tf.tidy(() => {
    const scores = tf.matMul(tf.mul(group.q, scale) as tf.Tensor2D, transposed(group.k));
    if (mask.seesAll) return tf.softmax(scores) as tf.Tensor2D;
    const own = mask.row(row);
    const [queries, keys] = own.shape;
    const stacked = tf.reshape(scores, [-1, queries, keys]);
    return tf.softmax(tf.reshape(tf.add(stacked, own), [scores.shape[0], keys])) as tf.Tensor2D;
  });
}

const op: Op<AttentionInputs, AttentionAttributes> = {
  kernelName: 'LftAttention',
  saveInputs: ['q', 'k', 'v'],
  // The result and, where a backend's kernel gives it, the log-sum of every row's scores.
  saveOutputs: [true, true],
  forward({ q, k, v }, { mask, scale }) {
    const kvHeads = k.shape[2];
    const [qs, ks, vs] = [groups(q, kvHeads), groups(k, kvHeads), groups(v, kvHeads)];
    const outputs = qs.map((_, i) =>
      tf.tidy(() => {
        const group = { q: qs[i]!, k: ks[i]!, v: vs[i]! };
        return tf.matMul(probabilities(group, mask, Math.floor(i / kvHeads), scale), group.v) as tf.Tensor2D;
      }),
    );
    return ungroup(outputs, q.shape);
  },
  backward(dy, [q, k, v, o, logSum], { mask, scale }) {
    const fused =
      logSum && runIfFused('LftAttentionGradients', { dy, q: q!, k: k!, v: v!, o: o!, logSum }, { mask, scale });
    if (fused) return { q: () => fused[0]!, k: () => fused[1]!, v: () => fused[2]! };
    const kvHeads = k!.shape[2]!;
    // All three gradients share the probabilities. They are computed here and not in the thunks, so that the tape's own scope frees those
    // that nobody asks for.
    const [qs, ks, vs, dys] = [q, k, v, dy].map((x) => groups(x as tf.Tensor4D, kvHeads)) as [
      tf.Tensor2D[],
      tf.Tensor2D[],
      tf.Tensor2D[],
      tf.Tensor2D[],
    ];
    const parts = { q: [] as tf.Tensor2D[], k: [] as tf.Tensor2D[], v: [] as tf.Tensor2D[] };
    for (let i = 0; i < qs.length; i++) {
      const group = { q: qs[i]!, k: ks[i]!, v: vs[i]! };
      const [dq, dk, dv] = tf.tidy(() => {
        const d = dys[i]!;
        const p = probabilities(group, mask, Math.floor(i / kvHeads), scale);
        // dS = P∘(dP − rowsum(dP∘P)), dP = dO·Vᵀ. Products with Pᵀ and dSᵀ are written so that only narrow matrices are transposed.
        const dp = tf.matMul(d, transposed(group.v));
        const weighted = tf.mul(dp, p);
        const ds = tf.mul(tf.sub(weighted, tf.mul(p, tf.sum(weighted, -1, true))), scale) as tf.Tensor2D;
        return [
          tf.matMul(ds, group.k),
          transposed(tf.matMul(transposed(group.q), ds)),
          transposed(tf.matMul(transposed(d), p)),
        ];
      });
      parts.q.push(dq!);
      parts.k.push(dk!);
      parts.v.push(dv!);
      tf.dispose([group, dys[i]!]);
    }
    const take = (name: 'q' | 'k' | 'v', shape: readonly number[]) => () => {
      const gradient = ungroup(parts[name], shape);
      tf.dispose(parts[name]);
      return gradient;
    };
    return { q: take('q', q!.shape), k: take('k', k!.shape), v: take('v', v!.shape) };
  },
};

/**
 * Causal attention with grouped key-value heads: softmax(scale·Q·Kᵀ + mask)·V for each head; query head h uses key-value head
 * ⌊h·K/H⌋. Scores exist for one group of heads at a time, never for all.
 * @param q    [B, Tq, H, D] f32
 * @param k, v [B, Tk, K, D] f32, K divides H
 * @returns [B, Tq, H, D] f32
 */
export function attention(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  mask: CausalMask,
  scale: number,
): tf.Tensor4D {
  return runOp(op, { q, k, v }, { mask, scale })[0] as tf.Tensor4D;
}
