import { type FrozenWeight, Int8Values } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import type { Source } from '../addon.js';
import type { NativeBackend } from '../native-backend.js';

/**
 * x·Wᵀ of x [count, in], or x·W of x [count, out], for a frozen W [out, in], into `result`. x·W is added to it, if it `adds`.
 * int8 weights are multiplied as int8 where the processor can, with the rows of x rounded to it too.
 */
export function frozenProduct(
  backend: NativeBackend,
  x: tf.TensorInfo,
  weight: FrozenWeight,
  transposed: boolean,
  result: tf.TensorInfo,
  adds: 0 | 1 = 0,
): void {
  const { addon } = backend;
  const { data, rows, columns } = weight;
  const [from, to, count] = [backend.values(x), backend.values(result), x.shape[0]!];
  // With few rows of x the weight is read as it is, and x is not rounded.
  if (transposed && 'codes' in data && addon.vectorProduct(from, data.codes, data.scales, to, count, rows, columns))
    return;
  if (data instanceof Int8Values && addon.takesInt8(rows, columns)) {
    if (transposed) addon.int8Product(from, data.codes, data.scales, to, count, rows, columns);
    else addon.int8InputGradient(from, data.codes, data.scales, to, count, rows, columns, adds);
    return;
  }
  const [inner, outer] = transposed ? [columns, rows] : [rows, columns];
  withMatrix(backend, weight, (matrix) =>
    addon.matmul(
      from,
      matrix,
      to,
      count,
      inner,
      outer,
      0,
      Number(transposed),
      Number(backend.precision === 'bf16'),
      adds,
    ),
  );
}

/** Gives the weight's matrix as it lies, f32 or bf16; a quantised one unpacked into bf16 for the time of the call. */
export function withMatrix<Result>(
  { addon }: NativeBackend,
  { data, rows, columns }: FrozenWeight,
  use: (matrix: Source) => Result,
): Result {
  if (data instanceof Float32Array || data instanceof Uint16Array) return use(data);
  const memory = addon.alloc(2 * data.length);
  try {
    if (data instanceof Int8Values) addon.unpackInt8(data.codes, data.scales, memory, rows, columns);
    else addon.unpackNf4(data.codes, data.scales, memory, rows, columns);
    return use(memory + 1);
  } finally {
    addon.release(memory);
  }
}
