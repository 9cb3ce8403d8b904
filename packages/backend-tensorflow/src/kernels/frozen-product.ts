import type { FrozenWeight } from '@lft/core';
import { type Held, TYPE } from '../node-binding.js';
import type { RawCall } from '../raw-call.js';
import { uploadedWeight } from './uploaded-weight.js';

/**
 * x·W, or x·Wᵀ with `transposed`. With a weight of less than f32 the product runs in bf16: x is rounded to it, sums are f32, the result is
 * rounded. The row scales of an int8 weight act in f32, on what stands beside it.
 * @param x [N, out], or [N, in] with `transposed`
 * @returns [N, in], or [N, out] with `transposed`; held in bf16 where nothing widened it
 */
export function frozenProduct(call: RawCall, x: Held, weight: FrozenWeight, transposed: boolean): Held {
  const { type, matrix, scales } = uploadedWeight(weight);
  const left = scales && !transposed ? call.binary('Mul', call.cast(x, TYPE.float32), scales) : x;
  const product = call.product(call.cast(left, type), matrix(call), { transposeB: transposed });
  return scales && transposed ? call.binary('Mul', call.cast(product, TYPE.float32), scales) : product;
}
