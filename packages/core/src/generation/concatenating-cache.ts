import * as tf from '@tensorflow/tfjs-core';
import type { KeyValueCache } from '../models/causal-model.js';

/** Keys and values of one sequence, grown by concatenation. Owns what it keeps. */
export class ConcatenatingCache implements KeyValueCache {
  private readonly entries: { k: tf.Tensor4D; v: tf.Tensor4D }[] = [];

  get length(): number {
    return this.entries[0]?.k.shape[1] ?? 0;
  }

  append(block: number, k: tf.Tensor4D, v: tf.Tensor4D): { k: tf.Tensor4D; v: tf.Tensor4D } {
    const before = this.entries[block];
    const after = {
      k: tf.keep(before ? tf.concat([before.k, k], 1) : tf.clone(k)),
      v: tf.keep(before ? tf.concat([before.v, v], 1) : tf.clone(v)),
    };
    if (before) tf.dispose([before.k, before.v]);
    this.entries[block] = after;
    return after;
  }

  dispose(): void {
    for (const { k, v } of this.entries) tf.dispose([k, v]);
  }
}
