import type * as tf from '@tensorflow/tfjs-core';
import { CompiledKernel } from '../compiled/compiled-kernel.js';
import { heldTensor } from '../held-tensors.js';
import { RawCall } from '../raw-call.js';

/** Of operands in two formats: f32. */
const mixed = new CompiledKernel((graph, a, b) => [graph.run('AddV2', graph.wide(a!), graph.wide(b!))]);

function sum(a: tf.TensorInfo, b: tf.TensorInfo): tf.Tensor {
  return RawCall.run((call) => {
    const [left, right] = [heldTensor(a), heldTensor(b)];
    if (left.dtype === right.dtype) return call.tensor(call.binary('AddV2', left, right));
    return call.tensor(mixed.run(call, [left, right])[0]!);
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
