import * as tf from '@tensorflow/tfjs-core';

/** TensorFlow's numbers of the types that the kernels name. The tensor library knows no bf16. */
export const TYPE = { float32: 1, int32: 3, uint8: 4, int8: 6, bfloat16: 14 } as const;
export type TypeNumber = (typeof TYPE)[keyof typeof TYPE];

/** An attribute of an operation, as the binding takes it. */
export interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: number | boolean;
}

/** A tensor of TensorFlow's, by its id. */
interface Metadata {
  readonly id: number;
  readonly shape: number[];
  readonly dtype: number;
}

/** The part of tfjs-node's addon that is used here. */
export interface NodeBinding {
  readonly TF_Version: string;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_BOOL: number;
  createTensor(shape: readonly number[], type: number, values: Float32Array | Uint8Array | Int32Array): number;
  deleteTensor(id: number): void;
  executeOp(name: string, attributes: OpAttribute[], inputs: number[], outputs: number): Metadata[];
  isUsingGpuDevice(): boolean;
  getNumOfTensors(): number;
}

/** The part of tfjs-node's backend that is used here. */
export interface NodeBackend extends tf.KernelBackend {
  readonly binding: NodeBinding;
  getInputTensorIds(tensors: tf.TensorInfo[]): number[];
  createOutputTensor(metadata: Metadata): tf.Tensor;
}

export const BACKEND = 'tensorflow';

/** The backend object of tfjs-node. */
export function nodeBackend(): NodeBackend {
  return tf.findBackend(BACKEND) as NodeBackend;
}

/** Operations below the tensor library: what they give are ids, freed with the call that made them unless it hands them on. */
export class RawCall {
  private readonly temporary: number[] = [];
  private readonly backend = nodeBackend();

  /** Runs `work` and frees every id that it left. */
  static run<T>(work: (call: RawCall) => T): T {
    const call = new RawCall();
    try {
      return work(call);
    } finally {
      for (const id of call.temporary) call.backend.binding.deleteTensor(id);
    }
  }

  type(name: string, value: TypeNumber): OpAttribute {
    return { name, type: this.backend.binding.TF_ATTR_TYPE, value };
  }

  flag(name: string, value: boolean): OpAttribute {
    return { name, type: this.backend.binding.TF_ATTR_BOOL, value };
  }

  /** The id of a tensor of the tensor library, which keeps it. */
  idOf(tensor: tf.TensorInfo): number {
    return this.backend.getInputTensorIds([tensor])[0]!;
  }

  /** An id for this call only. */
  execute(name: string, attributes: OpAttribute[], inputs: number[]): number {
    const id = this.backend.binding.executeOp(name, attributes, inputs, 1)[0]!.id;
    this.temporary.push(id);
    return id;
  }

  /** Values in another type; an id for this call only. */
  cast(id: number, from: TypeNumber, to: TypeNumber): number {
    return this.execute('Cast', [this.type('SrcT', from), this.type('DstT', to)], [id]);
  }

  /** An id that stays: the caller deletes it. */
  executeKept(name: string, attributes: OpAttribute[], inputs: number[]): number {
    return this.backend.binding.executeOp(name, attributes, inputs, 1)[0]!.id;
  }

  /** The result as tensors of the tensor library. */
  executeTensors(name: string, attributes: OpAttribute[], inputs: number[], outputs = 1): tf.Tensor[] {
    return this.backend.binding
      .executeOp(name, attributes, inputs, outputs)
      .map((metadata) => this.backend.createOutputTensor(metadata));
  }

  /** Values of JS for this call only. */
  upload(shape: readonly number[], type: TypeNumber, values: Float32Array | Uint8Array | Int32Array): number {
    const id = this.uploadKept(shape, type, values);
    this.temporary.push(id);
    return id;
  }

  uploadKept(shape: readonly number[], type: TypeNumber, values: Float32Array | Uint8Array | Int32Array): number {
    return this.backend.binding.createTensor([...shape], type, values);
  }
}
