import type * as tf from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../native-backend.js';

/** A kernel of this backend: the name in the registry, and what runs. */
export interface Kernel {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: inputs and attributes are each kernel's own, and untyped in the registry
  run(backend: NativeBackend, inputs: any, attributes: any): tf.TensorInfo | tf.TensorInfo[];
}
