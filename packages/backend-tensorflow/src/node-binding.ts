import * as tf from '@tensorflow/tfjs-core';

/** TensorFlow's numbers of the types that the kernels name. The tensor library knows no bf16. */
export const TYPE = { float32: 1, int32: 3, uint8: 4, int8: 6, bool: 10, bfloat16: 14 } as const;
export type TypeNumber = (typeof TYPE)[keyof typeof TYPE];

/** An attribute of an operation, as the binding takes it. */
export interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: number | boolean;
}

/** A tensor of TensorFlow's. */
export interface Held {
  readonly id: number;
  readonly shape: readonly number[];
  readonly dtype: TypeNumber;
}

/** The part of tfjs-node's addon that is used here. */
export interface NodeBinding {
  readonly TF_Version: string;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_ATTR_INT: number;
  createTensor(shape: readonly number[], type: number, values: Float32Array | Uint8Array | Int32Array): number;
  deleteTensor(id: number): void;
  executeOp(name: string, attributes: readonly OpAttribute[], inputs: readonly number[], outputs: number): Held[];
  loadSavedModel(folder: string, tags: string): number;
  runSavedModel(model: number, inputs: readonly number[], inputNames: string, outputNames: string): Held[];
  isUsingGpuDevice(): boolean;
  getNumOfTensors(): number;
}

/** What tfjs-node knows of a tensor's memory. */
export interface Entry {
  shape: number[];
  dtype: number;
  /** Values of JS that TensorFlow has not got yet: there is no id then. */
  values: tf.BackendValues | null;
  id: number;
  refCount: number;
}

/** The part of tfjs-node's backend that is used here. */
export interface NodeBackend extends tf.KernelBackend {
  readonly binding: NodeBinding;
  readonly tensorMap: tf.DataStorage<Entry>;
  getInputTensorIds(tensors: tf.TensorInfo[]): number[];
}

export const BACKEND = 'tensorflow';

/** The backend object of tfjs-node. */
export function nodeBackend(): NodeBackend {
  return tf.findBackend(BACKEND) as NodeBackend;
}
