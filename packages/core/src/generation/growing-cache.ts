import * as tf from '@tensorflow/tfjs-core';
import type { KeyValueCache } from '../models/causal-model.js';
import { runIfFused } from '../ops/define-op.js';

interface Entry {
  readonly k: tf.Tensor4D;
  readonly v: tf.Tensor4D;
}

/** Keys and values of one sequence. Owns what it keeps. */
export class GrowingCache implements KeyValueCache {
  private readonly entries: Entry[] = [];

  get length(): number {
    return this.entries[0]?.k.shape[1] ?? 0;
  }

  entry(block: number): Entry | undefined {
    return this.entries[block];
  }

  replace(block: number, { k, v }: Entry): void {
    const before = this.entries[block];
    this.entries[block] = { k: tf.keep(k), v: tf.keep(v) };
    if (before) tf.dispose([before.k, before.v]);
  }

  append(block: number, k: tf.Tensor4D, v: tf.Tensor4D): Entry {
    const before = this.entries[block];
    const after = before ? { k: appended(before.k, k), v: appended(before.v, v) } : { k: tf.clone(k), v: tf.clone(v) };
    this.replace(block, after);
    return after;
  }

  dispose(): void {
    for (const { k, v } of this.entries) tf.dispose([k, v]);
  }
}

/** [B, T, K, D] and [B, more, K, D] joined. A backend may put the new ones behind the old ones where these lie, and copy nothing. */
function appended(x: tf.Tensor4D, more: tf.Tensor4D): tf.Tensor4D {
  return (runIfFused('LftAppend', { x, more })?.[0] as tf.Tensor4D | undefined) ?? tf.concat([x, more], 1);
}
