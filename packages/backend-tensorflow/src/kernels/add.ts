import type * as tf from '@tensorflow/tfjs-core';
import { heldTensor } from '../held-tensors.js';
import { TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';

function sum(a: tf.TensorInfo, b: tf.TensorInfo): tf.Tensor {
  return RawCall.run((call) => {
    const [left, right] = [heldTensor(a), heldTensor(b)];
    const type = left.dtype === right.dtype ? left.dtype : TYPE.float32;
    return call.tensor(call.binary('AddV2', call.cast(left, type), call.cast(right, type)));
  });
}

/** LftAdd: a + b of one shape, in bf16 where both are held so. */
export function add({ a, b }: Record<'a' | 'b', tf.TensorInfo>): tf.Tensor {
  return sum(a, b);
}

/** LftAccumulate: the same for a running sum of gradients. */
export function accumulate(inputs: Record<'sum' | 'part', tf.TensorInfo>): tf.Tensor {
  return sum(inputs.sum, inputs.part);
}
