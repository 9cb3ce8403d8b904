import { type FrozenWeight, Int8Values, NF4_BLOCK, NF4_LEVELS, Nf4Values } from '@lft/core';
import { nodeBackend, RawCall, TYPE } from '../node-binding.js';

/** A frozen weight W [rows, columns] in TensorFlow's memory, in its own format. */
export interface UploadedWeight {
  /** What products with it run in. */
  readonly type: typeof TYPE.float32 | typeof TYPE.bfloat16;
  /** The matrix in that type; without its row scales where there are some. */
  matrix(call: RawCall): number;
  /** [rows] f32: W = diag(scales) · matrix */
  readonly scales?: number;
}

/** Each weight goes to TensorFlow once, when it is first used. */
const uploaded = new WeakMap<FrozenWeight, UploadedWeight>();

/** Nobody disposes a frozen weight: a model that is let go drops its weights, and their copies go with them. */
const collected = new FinalizationRegistry<() => void>((free) => free());

export function uploadedWeight(weight: FrozenWeight): UploadedWeight {
  const known = uploaded.get(weight);
  if (known) return known;
  const kept: number[] = [];
  const made = RawCall.run((call) => upload(call, weight, kept));
  uploaded.set(weight, made);
  const { binding } = nodeBackend();
  collected.register(weight, () => {
    for (const id of kept) binding.deleteTensor(id);
  });
  return made;
}

/** @param kept gets the ids that stay */
function upload(call: RawCall, { data, rows, columns }: FrozenWeight, kept: number[]): UploadedWeight {
  const keep = (id: number) => {
    kept.push(id);
    return id;
  };
  if (data instanceof Float32Array) {
    const id = keep(call.uploadKept([rows, columns], TYPE.float32, data));
    return { type: TYPE.float32, matrix: () => id };
  }
  if (data instanceof Int8Values) {
    const id = keep(bitcast(call, [rows, columns], data.codes, TYPE.int8));
    const scales = keep(call.uploadKept([rows], TYPE.float32, data.scales));
    // Codes of at most 127 are exact in bf16.
    return { type: TYPE.bfloat16, matrix: (now) => now.cast(id, TYPE.int8, TYPE.bfloat16), scales };
  }
  if (data instanceof Nf4Values) return uploadNf4(call, data, [rows, columns], keep);
  // The binding takes no 16-bit arrays: bytes with a last axis of 2 become one bf16 each.
  const id = keep(bitcast(call, [rows, columns, 2], data, TYPE.bfloat16));
  return { type: TYPE.bfloat16, matrix: () => id };
}

/** Uploads an array of a type that the binding does not take, as its bytes. */
function bitcast(
  call: RawCall,
  shape: number[],
  { buffer, byteOffset, byteLength }: Int8Array | Uint16Array,
  type: typeof TYPE.int8 | typeof TYPE.bfloat16,
): number {
  const bytes = call.upload(shape, TYPE.uint8, new Uint8Array(buffer, byteOffset, byteLength));
  return call.executeKept('Bitcast', [call.type('T', TYPE.uint8), call.type('type', type)], [bytes]);
}

/** What every byte of codes stands for. */
const PAIRS = Float32Array.from({ length: 512 }, (_, i) => NF4_LEVELS[i & 1 ? (i >> 1) & 15 : i >> 5]!);

function uploadNf4(call: RawCall, values: Nf4Values, shape: number[], keep: (id: number) => number): UploadedWeight {
  const blocks = values.scales.length;
  const codes = keep(call.uploadKept([blocks, NF4_BLOCK / 2], TYPE.uint8, values.codes));
  const scales = keep(call.uploadKept([blocks, 1], TYPE.float32, values.scales));
  const pairs = keep(call.uploadKept([256, 2], TYPE.float32, PAIRS));
  const integers = (now: RawCall, list: number[]) => now.upload([list.length], TYPE.int32, Int32Array.from(list));
  const reshaped = (now: RawCall, id: number, to: number[]) =>
    now.execute('Reshape', [now.type('T', TYPE.float32), now.type('Tshape', TYPE.int32)], [id, integers(now, to)]);
  return {
    type: TYPE.bfloat16,
    matrix(now) {
      const types = [
        now.type('Tparams', TYPE.float32),
        now.type('Tindices', TYPE.int32),
        now.type('Taxis', TYPE.int32),
      ];
      const axis = now.upload([], TYPE.int32, Int32Array.of(0));
      const levels = now.execute('GatherV2', types, [pairs, now.cast(codes, TYPE.uint8, TYPE.int32), axis]);
      const scaled = now.execute(
        'Mul',
        [now.type('T', TYPE.float32)],
        [reshaped(now, levels, [blocks, NF4_BLOCK]), scales],
      );
      // The last block may be longer than the matrix.
      const flat = now.execute(
        'Slice',
        [now.type('T', TYPE.float32), now.type('Index', TYPE.int32)],
        [reshaped(now, scaled, [-1]), integers(now, [0]), integers(now, [values.length])],
      );
      return now.cast(reshaped(now, flat, shape), TYPE.float32, TYPE.bfloat16);
    },
  };
}
