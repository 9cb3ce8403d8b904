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

  append(block: number, k: tf.Tensor4D, v: tf.Tensor4D): Entry {
    const before = this.entries[block];
    const after = {
      k: tf.keep(before ? appended(before.k, k) : tf.clone(k)),
      v: tf.keep(before ? appended(before.v, v) : tf.clone(v)),
    };
    if (before) tf.dispose([before.k, before.v]);
    this.entries[block] = after;
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
