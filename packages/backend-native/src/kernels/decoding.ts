import type { FrozenWeight, ops } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import type { FrozenValues } from '../addon.js';
import type { NativeBackend } from '../native-backend.js';
import type { Kernel } from './kernel.js';

type Tensors = Record<'x' | 'k' | 'v' | 'cos' | 'sin', tf.TensorInfo>;

/** Values or codes of a weight, and its scales or 0. */
const parts = ({ data }: FrozenWeight): [FrozenValues, Float32Array | 0] =>
  'codes' in data ? [data.codes, data.scales] : [data, 0];

/** A vector as the addon takes it; nobody quantises one. */
const vector = ({ data }: FrozenWeight) => data as Float32Array | Uint16Array;

/** Whether the matrices are of one format that has vector products, and activations and cache are held as single operations would hold them. */
function takes(
  backend: NativeBackend,
  { k, v }: Tensors,
  matrices: readonly FrozenWeight[],
  activations: 'f32' | 'bf16',
): boolean {
  const { format } = matrices[0]!;
  const bf16 = backend.precision === 'bf16';
  const held = format === 'f32' && !bf16 ? 'f32' : 'bf16';
  return (
    held === (bf16 ? 'bf16' : activations) &&
    [k, v].every((cached) => backend.format(cached) === held) &&
    matrices.every(
      (weight) => weight.format === format && backend.addon.takesVectorProduct(parts(weight)[0], weight.columns),
    )
  );
}

export const decoding: readonly Kernel[] = [
  {
    // A block for one token: [1, D], and keys and values with the token's own behind them. Nothing where it doesn't take the weights.
    name: 'LftDecodeBlock',
    run(backend, inputs: Tensors, { weights, heads, epsilon, activations }: ops.DecodeBlockAttributes) {
      const { x, k, v, cos, sin } = inputs;
      const { inputNorm, outputNorm, q, o, gate, up, down } = weights;
      const matrices = [q, weights.k, weights.v, o, gate, up, down];
      if (!takes(backend, inputs, matrices, activations)) return [];
      const [, cached, kvHeads, width] = k.shape as [number, number, number, number];
      const y = backend.output(x.shape, 'float32');
      const [keys, values] = [k, v].map((before) => backend.extend(before, [1, cached + 1, kvHeads, width])) as [
        tf.TensorInfo,
        tf.TensorInfo,
      ];
      backend.addon.decodeBlock(
        backend.pointer(x),
        backend.pointer(y),
        backend.values(keys),
        backend.values(values),
        backend.pointer(cos),
        backend.pointer(sin),
        vector(inputNorm),
        vector(outputNorm),
        ...matrices.flatMap(parts),
        Float64Array.of(x.shape[1]!, gate.rows, heads, kvHeads, width, cached, epsilon),
      );
      return [y, keys, values];
    },
  },
];
