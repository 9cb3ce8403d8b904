import type { FrozenWeight } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import { RawCall, TYPE } from '../node-binding.js';
import { uploadedWeight } from './uploaded-weight.js';

/**
 * x·W, or x·Wᵀ with `transposed`. With a weight of less than f32 the product runs in bf16: x is rounded to it, sums are f32, the result is
 * rounded. The row scales of an int8 weight act in f32, on what stands beside it.
 * @param x [N, out], or [N, in] with `transposed`
 * @returns [N, in], or [N, out] with `transposed`, f32
 */
export function frozenProduct(x: tf.TensorInfo, weight: FrozenWeight, transposed: boolean): tf.Tensor2D {
  const { type, matrix, scales } = uploadedWeight(weight);
  return RawCall.run((call) => {
    const attributes = [call.type('T', type), call.flag('transpose_a', false), call.flag('transpose_b', transposed)];
    const float = [call.type('T', TYPE.float32)];
    let left = call.idOf(x);
    if (type === TYPE.float32) return call.executeTensors('MatMul', attributes, [left, matrix(call)])[0] as tf.Tensor2D;
    if (scales !== undefined && !transposed) left = call.execute('Mul', float, [left, scales]);
    const narrow = call.cast(left, TYPE.float32, TYPE.bfloat16);
    const product = call.execute('MatMul', attributes, [narrow, matrix(call)]);
    if (scales !== undefined && transposed) {
      const wide = call.cast(product, TYPE.bfloat16, TYPE.float32);
      return call.executeTensors('Mul', float, [wide, scales])[0] as tf.Tensor2D;
    }
    const widen = [call.type('SrcT', TYPE.bfloat16), call.type('DstT', TYPE.float32)];
    return call.executeTensors('Cast', widen, [product])[0] as tf.Tensor2D;
  });
}
