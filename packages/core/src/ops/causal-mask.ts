import * as tf from '@tensorflow/tfjs-core';

/** Added to a score that must not count. Not −∞: a fully masked row (padding) would then give NaN. */
const MASKED = -1e9;

/** Which keys each query sees: those at its own or an earlier position of its own document. */
export class CausalMask {
  private cached: tf.Tensor3D | undefined;

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

  /** [1 or batch, queries, keys] f32: 0 where a query sees a key, a large negative number where not. Kept until `dispose`. */
  tensor(): tf.Tensor3D {
    this.cached ??= tf.keep(this.make());
    return this.cached;
  }

  private make(): tf.Tensor3D {
    const { queries, keys, segments } = this;
    const rows = segments ? this.batch : 1;
    const values = new Float32Array(rows * queries * keys).fill(MASKED);
    const past = keys - queries;
    for (let b = 0; b < rows; b++) {
      for (let q = 0; q < queries; q++) {
        const row = (b * queries + q) * keys;
        for (let k = 0; k <= q + past; k++) {
          if (!segments || segments[b * keys + k] === segments[b * keys + q + past]) values[row + k] = 0;
        }
      }
    }
    return tf.tensor3d(values, [rows, queries, keys]);
  }

  dispose(): void {
    this.cached?.dispose();
    this.cached = undefined;
  }
}
