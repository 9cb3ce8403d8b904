import * as tf from '@tensorflow/tfjs-core';
import { type Entry, type Held, type NodeBackend, nodeBackend, TYPE, type TypeNumber } from './node-binding.js';

/*
 * The tensor library knows no bf16. What a kernel here computes in bf16 is held so, and is float32 to the tensor library; a kernel that is
 * not ours, or JavaScript, gets it widened. That halves the memory that activations take and that passes over them move.
 */

/** The tensor as it lies in TensorFlow's memory: float32 tensors of the tensor library may be bf16 there. */
export function heldTensor(x: tf.TensorInfo): Held {
  const entry = uploaded(nodeBackend(), x);
  return { id: entry.id, shape: x.shape, dtype: entry.dtype as TypeNumber };
}

/** A tensor of the tensor library that owns what TensorFlow holds. */
export function tensorOf({ id, shape, dtype }: Held): tf.Tensor {
  const dataId = {};
  nodeBackend().tensorMap.set(dataId, { shape: [...shape], dtype, values: null, id, refCount: 1 });
  const type = dtype === TYPE.int32 ? 'int32' : 'float32';
  return tf.engine().makeTensorFromTensorInfo({ dataId, shape: [...shape], dtype: type });
}

/** Lets tfjs-node's own kernels and readers take tensors that are held in bf16. Once for a backend. */
export function widenOnDemand(backend: NodeBackend): void {
  const { getInputTensorIds, readSync } = backend;
  backend.getInputTensorIds = (tensors) => {
    for (const { dataId } of tensors) if (dataId) widen(backend, dataId);
    return getInputTensorIds.call(backend, tensors);
  };
  backend.readSync = (dataId) => {
    widen(backend, dataId);
    return readSync.call(backend, dataId);
  };
}

/** In its place: once for all who share it. */
function widen({ binding, tensorMap }: NodeBackend, dataId: tf.DataId): void {
  const entry = tensorMap.get(dataId);
  if (entry?.dtype !== TYPE.bfloat16) return;
  const [wide] = binding.executeOp(
    'Cast',
    [
      { name: 'SrcT', type: binding.TF_ATTR_TYPE, value: TYPE.bfloat16 },
      { name: 'DstT', type: binding.TF_ATTR_TYPE, value: TYPE.float32 },
    ],
    [entry.id],
    1,
  );
  binding.deleteTensor(entry.id);
  entry.id = wide!.id;
  entry.dtype = TYPE.float32;
}

function uploaded({ binding, tensorMap }: NodeBackend, { dataId }: tf.TensorInfo): Entry {
  const entry = tensorMap.get(dataId);
  if (entry.values !== null) {
    entry.id = binding.createTensor(entry.shape, entry.dtype, entry.values as Float32Array);
    entry.values = null;
  }
  return entry;
}
