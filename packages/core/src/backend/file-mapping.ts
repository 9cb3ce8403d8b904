import * as tf from '@tensorflow/tfjs-core';
import type { MapFile } from '../formats/mapped-file.js';

/** What a backend that reads weights in place brings beside its kernels. */
interface MappingBackend {
  readonly mapFile?: MapFile;
}

/** The current backend's way of using files where they lie, or undefined where it has none. */
export function fileMapping(): MapFile | undefined {
  const backend = tf.backend() as MappingBackend;
  return backend.mapFile?.bind(backend);
}
