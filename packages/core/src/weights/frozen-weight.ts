import * as tf from '@tensorflow/tfjs-core';
import { unpack, unpackTransposed } from './unpack.js';

/** How a frozen weight is held: f32, or bf16 at half the memory (unpacked block by block where it is used). */
export type WeightFormat = 'f32' | 'bf16';

/** Rows of f32 that are unpacked at a time from a large matrix, in values: 8 Mi values are 32 MiB. */
const BLOCK_VALUES = 8 * 1024 * 1024;

/**
 * A weight that is not trained, outside the tensor library (which has no bf16): packed values in JS memory, in Hugging Face layout. Ops
 * take it as an attribute; the tensors it gives are f32 and belong to the caller.
 */
export class FrozenWeight {
  /**
   * @param name  of the tensor in the model's files
   * @param shape [out, in], [vocabulary, width] or [width]
   * @param data  f32, or bf16 bit patterns
   */
  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    readonly data: Float32Array | Uint16Array,
  ) {}

  get format(): WeightFormat {
    return this.data instanceof Float32Array ? 'f32' : 'bf16';
  }

  get rows(): number {
    return this.shape[0]!;
  }

  /** Values in a row; 1 for a vector. */
  get columns(): number {
    return this.shape[1] ?? 1;
  }

  get bytes(): number {
    return this.data.byteLength;
  }

  /** The whole weight in f32. For vectors and single matrices: a vocabulary matrix goes through {@link blocks}. */
  tensor(): tf.Tensor {
    return tf.tensor(unpack(this.data, 0, this.data.length), [...this.shape], 'float32');
  }

  /** Row ranges of at most 32 MiB in f32 each. */
  blocks(): readonly (readonly [begin: number, end: number])[] {
    const step = Math.max(1, Math.floor(BLOCK_VALUES / this.columns));
    const ranges: (readonly [number, number])[] = [];
    for (let begin = 0; begin < this.rows; begin += step) ranges.push([begin, Math.min(this.rows, begin + step)]);
    return ranges;
  }

  /** Rows [begin, end) as [end - begin, columns]. */
  rowBlock(begin: number, end: number): tf.Tensor2D {
    const { columns } = this;
    return tf.tensor2d(unpack(this.data, begin * columns, end * columns), [end - begin, columns]);
  }

  /** Rows [begin, end), transposed: [columns, end - begin]. */
  rowBlockTransposed(begin: number, end: number): tf.Tensor2D {
    return tf.tensor2d(unpackTransposed(this.data, this.columns, begin, end), [this.columns, end - begin]);
  }

  /** The rows with these indices: [indices, columns]. */
  gather(indices: ArrayLike<number>): tf.Tensor2D {
    const { columns, data } = this;
    const out = new Float32Array(indices.length * columns);
    for (let i = 0; i < indices.length; i++) {
      const begin = indices[i]! * columns;
      out.set(unpack(data, begin, begin + columns), i * columns);
    }
    return tf.tensor2d(out, [indices.length, columns]);
  }
}
