import * as tf from '@tensorflow/tfjs-core';
import { bfloat16FromFloat32 } from '../formats/half-precision.js';
import { Int8Values } from './int8.js';
import { Nf4Values } from './nf4.js';
import { unpack, unpackTransposed, type WeightData } from './unpack.js';

/**
 * How a frozen weight is held, in bytes a value: f32 (4), bf16 (2), int8 with a scale for each row (1), nf4 with a scale for 64 values
 * (0.56). Less than f32 is unpacked block by block where it is used.
 */
export type WeightFormat = (typeof WEIGHT_FORMATS)[number];

export const WEIGHT_FORMATS = ['f32', 'bf16', 'int8', 'nf4'] as const;

/** Rows of f32 that are unpacked at a time from a large matrix, in values: 8 Mi values are 32 MiB. */
const BLOCK_VALUES = 8 * 1024 * 1024;

const PACK: { readonly [Format in WeightFormat]: (values: Float32Array, rows: number) => WeightData } = {
  f32: (values) => values,
  bf16: bfloat16FromFloat32,
  int8: Int8Values.quantise,
  nf4: Nf4Values.quantise,
};

/**
 * A weight that is not trained, outside the tensor library (which has no bf16): packed values in JS memory, in Hugging Face layout. Ops
 * take it as an attribute; the tensors it gives are f32 and belong to the caller.
 */
export class FrozenWeight {
  /**
   * @param name  of the tensor in the model's files
   * @param shape [out, in], [vocabulary, width] or [width]
   * @param data  f32, bf16 bit patterns, or quantised values
   */
  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    readonly data: WeightData,
  ) {}

  /** Rounds a matrix's values to a format. */
  static pack(name: string, shape: readonly number[], values: Float32Array, format: WeightFormat): FrozenWeight {
    return new FrozenWeight(name, shape, PACK[format](values, shape[0]!));
  }

  get format(): WeightFormat {
    if (this.data instanceof Float32Array) return 'f32';
    return this.data instanceof Uint16Array ? 'bf16' : this.data.format;
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
