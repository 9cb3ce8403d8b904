import { type FrozenWeight, Int8Values, NF4_BLOCK, NF4_LEVELS, Nf4Values } from '@lft/core';
import { type Held, nodeBackend, TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';

/** A frozen weight W [rows, columns] in TensorFlow's memory, in its own format. */
export interface UploadedWeight {
  /** What products with it run in. */
  readonly type: typeof TYPE.float32 | typeof TYPE.bfloat16;
  /** The matrix in that type; without its row scales where there are some. */
  matrix(call: RawCall): Held;
  /** [rows] f32: W = diag(scales) · matrix */
  readonly scales?: Held;
}

/** Each weight goes to TensorFlow once, when it is first used. */
const uploaded = new WeakMap<FrozenWeight, UploadedWeight>();

/** Nobody disposes a frozen weight: a model that is let go drops its weights, and their copies go with them. */
const collected = new FinalizationRegistry<() => void>((free) => free());

export function uploadedWeight(weight: FrozenWeight): UploadedWeight {
  const known = uploaded.get(weight);
  if (known) return known;
  const kept: Held[] = [];
  const made = RawCall.run((call) =>
    upload(call, weight, (held) => {
      kept.push(held);
      return call.release(held);
    }),
  );
  uploaded.set(weight, made);
  const { binding } = nodeBackend();
  collected.register(weight, () => {
    for (const { id } of kept) binding.deleteTensor(id);
  });
  return made;
}

type Keep = (held: Held) => Held;

function upload(call: RawCall, { data, rows, columns }: FrozenWeight, keep: Keep): UploadedWeight {
  if (data instanceof Float32Array) {
    const matrix = keep(call.upload([rows, columns], TYPE.float32, data));
    return { type: TYPE.float32, matrix: () => matrix };
  }
  if (data instanceof Int8Values) {
    const codes = keep(bitcast(call, [rows, columns], data.codes, TYPE.int8));
    const scales = keep(call.upload([rows], TYPE.float32, data.scales));
    // Codes of at most 127 are exact in bf16.
    return { type: TYPE.bfloat16, matrix: (now) => now.cast(codes, TYPE.bfloat16), scales };
  }
  if (data instanceof Nf4Values) return uploadNf4(call, data, [rows, columns], keep);
  // The binding takes no 16-bit arrays: bytes with a last axis of 2 become one bf16 each.
  const matrix = keep(bitcast(call, [rows, columns, 2], data, TYPE.bfloat16));
  return { type: TYPE.bfloat16, matrix: () => matrix };
}

/** Uploads an array of a type that the binding does not take, as its bytes. */
function bitcast(
  call: RawCall,
  shape: number[],
  { buffer, byteOffset, byteLength }: Int8Array | Uint16Array,
  type: typeof TYPE.int8 | typeof TYPE.bfloat16,
): Held {
  const bytes = call.upload(shape, TYPE.uint8, new Uint8Array(buffer, byteOffset, byteLength));
  return call.execute('Bitcast', [call.type('T', TYPE.uint8), call.type('type', type)], [bytes]);
}

/** What every byte of codes stands for. */
const PAIRS = Float32Array.from({ length: 512 }, (_, i) => NF4_LEVELS[i & 1 ? (i >> 1) & 15 : i >> 5]!);

function uploadNf4(call: RawCall, values: Nf4Values, shape: readonly [number, number], keep: Keep): UploadedWeight {
  const blocks = values.scales.length;
  const codes = keep(call.upload([blocks, NF4_BLOCK / 2], TYPE.uint8, values.codes));
  const scales = keep(call.upload([blocks, 1], TYPE.float32, values.scales));
  const pairs = keep(call.upload([256, 2], TYPE.float32, PAIRS));
  return {
    type: TYPE.bfloat16,
    matrix(now) {
      const types = [
        now.type('Tparams', TYPE.float32),
        now.type('Tindices', TYPE.int32),
        now.type('Taxis', TYPE.int32),
      ];
      const axis = now.upload([], TYPE.int32, Int32Array.of(0));
      const levels = now.execute('GatherV2', types, [pairs, now.cast(codes, TYPE.int32), axis]);
      const scaled = now.binary('Mul', now.reshape(levels, blocks, NF4_BLOCK), scales);
      // The last block may be longer than the matrix.
      const flat = now.slice(now.reshape(scaled, blocks * NF4_BLOCK), 0, 0, values.length);
      return now.cast(now.reshape(flat, ...shape), TYPE.bfloat16);
    },
  };
}
