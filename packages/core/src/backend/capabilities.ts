import * as tf from '@tensorflow/tfjs-core';
import type { MapFile } from '../formats/mapped-file.js';

/** What a backend can do beside its kernels. It says so by properties of these names. */
export interface BackendCapabilities {
  /** Uses frozen weights where they lie in their files. */
  readonly mapFile?: MapFile;
  /** Gives back the memory of mapped bytes until they are read again; what was written to them is lost. Nothing for other memory. */
  readonly forgetPages?: (data: NodeJS.TypedArray) => void;
  /** Holds activations beside bf16 weights in bf16. */
  readonly holdsBf16?: boolean;
  /** Holds trained weights and their optimizer's state in bf16: has kernel LftHoldBf16, and LftAdamWStep rounds stochastically. */
  readonly trainsBf16?: boolean;
  /** Its attention costs nothing for keys of other documents in the row. */
  readonly skipsOtherDocuments?: boolean;
}

/** Of the current backend; nothing while there is none. */
export function capabilities(): BackendCapabilities {
  return tf.engine().backendName ? (tf.backend() as BackendCapabilities) : {};
}
