import * as tf from '@tensorflow/tfjs-core';
import type { LazyValue } from '../contracts/parameter.js';
import { SafetensorsFile } from '../formats/safetensors-file.js';
import { writeSafetensors } from '../formats/safetensors-write.js';

/** Writes f32 tensors to a safetensors file, one at a time; lazy values are made for it. */
export async function writeTensors(
  file: string,
  tensors: ReadonlyMap<string, tf.Tensor | LazyValue>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const entries = [...tensors].map(([name, tensor]) => ({
    name,
    dtype: 'F32' as const,
    shape: [...tensor.shape],
    data: async () => {
      const made = tensor instanceof tf.Tensor ? undefined : tensor.make();
      const values = (await (made ?? (tensor as tf.Tensor)).data()) as Float32Array;
      made?.dispose();
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    },
  }));
  await writeSafetensors(file, entries, { format: 'pt', ...metadata });
}

/** Reads every tensor of a safetensors file as f32. The caller disposes them. */
export async function readTensors(
  file: string,
): Promise<{ tensors: Map<string, tf.Tensor>; metadata: Readonly<Record<string, string>> }> {
  const source = await SafetensorsFile.open(file);
  try {
    const tensors = new Map<string, tf.Tensor>();
    for (const [name, { shape }] of source.tensors) {
      tensors.set(name, tf.tensor(await source.readFloat32(name), [...shape], 'float32'));
    }
    return { tensors, metadata: source.metadata };
  } finally {
    await source.close();
  }
}
