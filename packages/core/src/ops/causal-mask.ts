import * as tf from '@tensorflow/tfjs-core';

/** Added to a score that must not count. Not −∞: a fully masked row (padding) would then give NaN. */
const MASKED = -1e9;

/** Which keys each query sees: those at its own or an earlier position of its own document. */
export class CausalMask {
  private readonly cached: tf.Tensor2D[] = [];

  /**
   * @param queries  number of query positions per row; they are the last of the keys
   * @param keys     number of key positions per row, ≥ queries
   * @param segments [batch × keys] document index of each key position; tokens see only their own document. Absent: one document a row
   */
  constructor(
    readonly batch: number,
    readonly queries: number,
    readonly keys: number,
    readonly segments?: Int32Array,
  ) {}

  /** A single query without documents sees every key. */
  get seesAll(): boolean {
    return this.queries === 1 && !this.segments;
  }

  /** [queries, keys] f32 of a row of the batch: 0 where a query sees a key, a large negative number where not. Kept until `dispose`. */
  row(index: number): tf.Tensor2D {
    const at = this.segments ? index : 0;
    this.cached[at] ??= tf.keep(this.make(at));
    return this.cached[at];
  }

  private make(row: number): tf.Tensor2D {
    const { queries, keys, segments } = this;
    const values = new Float32Array(queries * keys).fill(MASKED);
    const past = keys - queries;
    const own = segments?.subarray(row * keys, (row + 1) * keys);
    for (let q = 0; q < queries; q++) {
      for (let k = 0; k <= q + past; k++) {
        if (!own || own[k] === own[q + past]) values[q * keys + k] = 0;
      }
    }
    return tf.tensor2d(values, [queries, keys]);
  }

  dispose(): void {
    tf.dispose(this.cached.splice(0));
  }
}
