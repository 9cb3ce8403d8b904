import type * as tf from '@tensorflow/tfjs-core';
import { multipliesBf16Fast } from './fast-bf16.js';
import { heldTensor, tensorOf } from './held-tensors.js';
import { type Held, nodeBackend, type OpAttribute, TYPE, type TypeNumber } from './node-binding.js';

type Values = Float32Array | Uint8Array | Int32Array;

interface Transposes {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

/** Operations below the tensor library. What they give is freed with the call that made it, unless the call hands it on. */
export class RawCall {
  private readonly temporary = new Set<number>();
  private readonly binding = nodeBackend().binding;

  /** Runs `work` and frees what it left. */
  static run<T>(work: (call: RawCall) => T): T {
    const call = new RawCall();
    try {
      return work(call);
    } finally {
      for (const id of call.temporary) call.binding.deleteTensor(id);
    }
  }

  type(name: string, value: TypeNumber): OpAttribute {
    return { name, type: this.binding.TF_ATTR_TYPE, value };
  }

  flag(name: string, value: boolean): OpAttribute {
    return { name, type: this.binding.TF_ATTR_BOOL, value };
  }

  execute(name: string, attributes: readonly OpAttribute[], inputs: readonly Held[]): Held {
    return this.executeAll(name, attributes, inputs, 1)[0]!;
  }

  executeAll(name: string, attributes: readonly OpAttribute[], inputs: readonly Held[], outputs: number): Held[] {
    const ids = inputs.map(({ id }) => id);
    return this.binding.executeOp(name, attributes, ids, outputs).map((each) => this.own(each));
  }

  /** Frees it with the call. */
  own(held: Held): Held {
    this.temporary.add(held.id);
    return held;
  }

  /** Does not free it with the call. */
  release(held: Held): Held {
    this.temporary.delete(held.id);
    return held;
  }

  /** Frees it with another call. */
  handOver(held: Held, to: RawCall): Held {
    return to.own(this.release(held));
  }

  /** Hands a result to the tensor library. */
  tensor(held: Held): tf.Tensor {
    return tensorOf(this.release(held));
  }

  /** Values of JS. */
  upload(shape: readonly number[], dtype: TypeNumber, values: Values): Held {
    return this.own({ id: this.binding.createTensor([...shape], dtype, values), shape, dtype });
  }

  integers(...values: number[]): Held {
    return this.upload([values.length], TYPE.int32, Int32Array.from(values));
  }

  /** x in another type; x itself where it has the type. */
  cast(x: Held, to: TypeNumber): Held {
    if (x.dtype === to) return x;
    return this.execute('Cast', [this.type('SrcT', x.dtype), this.type('DstT', to)], [x]);
  }

  /** A tensor of the tensor library in f32, for this call; the tensor stays as it is held. */
  wide(x: tf.TensorInfo): Held {
    return this.cast(heldTensor(x), TYPE.float32);
  }

  /** Elementwise on operands of one type, broadcast. */
  binary(name: 'AddV2' | 'Sub' | 'Mul', a: Held, b: Held): Held {
    return this.execute(name, [this.type('T', a.dtype)], [a, b]);
  }

  /** x·factor */
  scaled(x: Held, factor: number): Held {
    if (factor === 1) return x;
    return this.binary('Mul', x, this.cast(this.upload([], TYPE.float32, Float32Array.of(factor)), x.dtype));
  }

  /**
   * Products of the last two axes of operands of one type, by each of the others. Sums are f32, the result is of their type. Where TensorFlow
   * multiplies bf16 slowly, it is widened and multiplied in f32.
   */
  product(a: Held, b: Held, transposes: Transposes = {}): Held {
    if (a.dtype !== TYPE.bfloat16 || multipliesBf16Fast(this)) return this.multiply(a, b, transposes);
    const wide = this.multiply(this.cast(a, TYPE.float32), this.cast(b, TYPE.float32), transposes);
    return this.cast(wide, TYPE.bfloat16);
  }

  multiply(a: Held, b: Held, { transposeA = false, transposeB = false }: Transposes = {}): Held {
    // Not MatMul: with less than 512 columns it takes up to twice as long as a batch of one.
    const attributes = [this.type('T', a.dtype), this.flag('adj_x', transposeA), this.flag('adj_y', transposeB)];
    return this.execute('BatchMatMulV2', attributes, [a, b]);
  }

  reshape(x: Held, ...shape: number[]): Held {
    const attributes = [this.type('T', x.dtype), this.type('Tshape', TYPE.int32)];
    return this.execute('Reshape', attributes, [x, this.integers(...shape)]);
  }

  transpose(x: Held, ...order: number[]): Held {
    const attributes = [this.type('T', x.dtype), this.type('Tperm', TYPE.int32)];
    return this.execute('Transpose', attributes, [x, this.integers(...order)]);
  }

  /** [begin, begin + size) of an axis. A part of the first axis is a view. */
  slice(x: Held, axis: number, begin: number, size: number): Held {
    if (begin === 0 && size === x.shape[axis]) return x;
    const begins = x.shape.map((_, i) => (i === axis ? begin : 0));
    const sizes = x.shape.map((length, i) => (i === axis ? size : length));
    const attributes = [this.type('T', x.dtype), this.type('Index', TYPE.int32)];
    return this.execute('Slice', attributes, [x, this.integers(...begins), this.integers(...sizes)]);
  }

  concat(parts: readonly Held[], axis: number): Held {
    if (parts.length === 1) return parts[0]!;
    const count = { name: 'N', type: this.binding.TF_ATTR_INT, value: parts.length };
    const attributes = [this.type('T', parts[0]!.dtype), this.type('Tidx', TYPE.int32), count];
    return this.execute('ConcatV2', attributes, [...parts, this.upload([], TYPE.int32, Int32Array.of(axis))]);
  }

  /** Sum over an axis. */
  sum(x: Held, axis: number, keepDims = false): Held {
    const attributes = [this.type('T', x.dtype), this.type('Tidx', TYPE.int32), this.flag('keep_dims', keepDims)];
    return this.execute('Sum', attributes, [x, this.integers(axis)]);
  }

  /** Zeros after the end of an axis. */
  padded(x: Held, axis: number, length: number): Held {
    if (x.shape[axis] === length) return x;
    const paddings = x.shape.flatMap((size, i) => [0, i === axis ? length - size : 0]);
    const held = this.upload([x.shape.length, 2], TYPE.int32, Int32Array.from(paddings));
    return this.execute('Pad', [this.type('T', x.dtype), this.type('Tpaddings', TYPE.int32)], [x, held]);
  }
}
