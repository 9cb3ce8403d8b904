import type * as tf from '@tensorflow/tfjs-core';
import type { FrozenWeight } from '../weights/frozen-weight.js';
import { runIfFused } from './define-op.js';

/** The frozen weights of a block of a Llama. Its modules have no bias. */
export interface DecoderWeights {
  readonly inputNorm: FrozenWeight;
  readonly q: FrozenWeight;
  readonly k: FrozenWeight;
  readonly v: FrozenWeight;
  readonly o: FrozenWeight;
  readonly outputNorm: FrozenWeight;
  readonly gate: FrozenWeight;
  readonly up: FrozenWeight;
  readonly down: FrozenWeight;
}

export interface DecodeBlockAttributes {
  readonly weights: DecoderWeights;
  readonly heads: number;
  readonly epsilon: number;
  /** As of `rmsNorm`. */
  readonly activations: 'f32' | 'bf16';
}

export interface DecodeBlockTensors {
  /** [1, D] f32 */
  readonly x: tf.Tensor2D;
  /** [1, T, K, D/H] */
  readonly k: tf.Tensor4D;
  readonly v: tf.Tensor4D;
}

/**
 * A whole block for one new token of one sequence, where the backend has it in one piece: small models spend as long between the operations
 * of a block as in them. No gradient.
 * @param before   x, and the cached keys and values
 * @param cos, sin [1, 1, D/H], of the token's position
 * @returns x after the block, keys and values with the token's own behind them [1, T + 1, K, D/H]; undefined where there is no such kernel,
 *   or it does not take these weights: the single operations do it
 */
export function decodeBlock(
  { x, k, v }: DecodeBlockTensors,
  { cos, sin }: { readonly cos: tf.Tensor3D; readonly sin: tf.Tensor3D },
  attributes: DecodeBlockAttributes,
): DecodeBlockTensors | undefined {
  const outputs = runIfFused('LftDecodeBlock', { x, k, v, cos, sin }, attributes);
  if (!outputs || outputs.length === 0) return undefined;
  const [y, keys, values] = outputs;
  return { x: y as tf.Tensor2D, k: keys as tf.Tensor4D, v: values as tf.Tensor4D };
}
