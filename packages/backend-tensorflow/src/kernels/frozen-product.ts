import type { FrozenWeight } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import { nodeBackend, RawCall, TYPE } from '../node-binding.js';

/** A frozen weight as a tensor of TensorFlow's, in the type that the model's file has. */
interface Uploaded {
  readonly id: number;
  readonly type: typeof TYPE.float32 | typeof TYPE.bfloat16;
}

/** Each weight goes to TensorFlow once, when it is first used. */
const uploaded = new WeakMap<FrozenWeight, Uploaded>();

/** Nobody disposes a frozen weight: a model that is let go drops its weights, and their copies go with them. */
const collected = new FinalizationRegistry<() => void>((free) => free());

function upload(weight: FrozenWeight): Uploaded {
  const known = uploaded.get(weight);
  if (known) return known;
  const { data } = weight;
  const shape = [weight.rows, weight.columns];
  const made: Uploaded = RawCall.run((call) => {
    if (data instanceof Float32Array) return { id: call.uploadKept(shape, TYPE.float32, data), type: TYPE.float32 };
    // The binding takes no 16-bit arrays: bytes go up with a last axis of 2, which Bitcast turns into one bf16.
    const bytes = call.upload([...shape, 2], TYPE.uint8, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    const attributes = [call.type('T', TYPE.uint8), call.type('type', TYPE.bfloat16)];
    return { id: call.executeKept('Bitcast', attributes, [bytes]), type: TYPE.bfloat16 };
  });
  uploaded.set(weight, made);
  const { binding } = nodeBackend();
  collected.register(weight, () => binding.deleteTensor(made.id));
  return made;
}

/**
 * x·W, or x·Wᵀ with `transposed`. With a bf16 weight the product runs in bf16: x is rounded to it, sums are f32, the result is rounded.
 * @param x [N, out], or [N, in] with `transposed`
 * @returns [N, in], or [N, out] with `transposed`, f32
 */
export function frozenProduct(x: tf.TensorInfo, weight: FrozenWeight, transposed: boolean): tf.Tensor2D {
  const { id, type } = upload(weight);
  return RawCall.run((call) => {
    const attributes = [call.type('T', type), call.flag('transpose_a', false), call.flag('transpose_b', transposed)];
    if (type === TYPE.float32) return call.executeTensors('MatMul', attributes, [call.idOf(x), id])[0] as tf.Tensor2D;
    const narrow = call.execute(
      'Cast',
      [call.type('SrcT', TYPE.float32), call.type('DstT', TYPE.bfloat16)],
      [call.idOf(x)],
    );
    const product = call.execute('MatMul', attributes, [narrow, id]);
    const widen = [call.type('SrcT', TYPE.bfloat16), call.type('DstT', TYPE.float32)];
    return call.executeTensors('Cast', widen, [product])[0] as tf.Tensor2D;
  });
}
