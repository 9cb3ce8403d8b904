import * as tf from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../native-backend.js';

const told = new Set<string>();

/** Runs a kernel of the plain JavaScript backend on copies of the inputs: for rare operations, and for dtypes that have no kernel here. */
export function runPlain(
  backend: NativeBackend,
  name: string,
  inputs: tf.NamedTensorInfoMap,
  attrs: tf.NamedAttrMap | undefined,
): tf.TensorInfo | tf.TensorInfo[] {
  const kernel = tf.getKernel(name, 'cpu');
  // The plain backend is a dependency, so it is there; its interface is not in the tensor library's types.
  const plain = tf.findBackend('cpu') as tf.KernelBackend & {
    makeTensorInfo(shape: number[], dtype: tf.DataType, values: tf.BackendValues): tf.TensorInfo;
    disposeIntermediateTensorInfo(info: tf.TensorInfo): void;
  };
  const borrowed: tf.TensorInfo[] = [];
  const lend = (x: tf.TensorInfo) => {
    const info = plain.makeTensorInfo(x.shape, x.dtype, backend.readSync(x.dataId));
    borrowed.push(info);
    return info;
  };
  const lent = Object.fromEntries(
    Object.entries(inputs).map(([key, x]) => [key, Array.isArray(x) ? x.map(lend) : x ? lend(x) : x]),
  ) as tf.NamedTensorInfoMap;
  const given = (Array.isArray(inputs) ? Object.values(lent) : lent) as tf.NamedTensorInfoMap;
  const result = kernel.kernelFunc({ inputs: given, backend: plain, ...(attrs ? { attrs } : {}) });
  const take = (info: tf.TensorInfo) => {
    const out = backend.output(info.shape, info.dtype);
    backend.addon.write(backend.pointer(out), typed(plain.readSync(info.dataId) as Float32Array, info.dtype));
    plain.disposeIntermediateTensorInfo(info);
    return out;
  };
  const outputs = Array.isArray(result) ? result.map(take) : take(result);
  for (const info of borrowed) plain.disposeIntermediateTensorInfo(info);
  return outputs;
}

/** The plain backend casts by name only: the values may be of an array of another type. */
function typed(
  values: Float32Array | Int32Array | Uint8Array,
  dtype: tf.DataType,
): Float32Array | Int32Array | Uint8Array {
  const type = { float32: Float32Array, int32: Int32Array, bool: Uint8Array }[dtype as 'float32' | 'int32' | 'bool'];
  return values instanceof type ? values : type.from(values);
}

/** Tells once which operations are slow here. Quiet unless LFT_DEBUG is set: small ones do not matter. */
export function tellPlain(name: string): void {
  if (!process.env.LFT_DEBUG || told.has(name)) return;
  told.add(name);
  console.warn(`native backend: ${name} runs in plain JavaScript`);
}
