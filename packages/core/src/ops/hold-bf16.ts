import * as tf from '@tensorflow/tfjs-core';
import { capabilities } from '../backend/capabilities.js';
import { LftError } from '../errors/lft-error.js';
import { FrozenWeight } from '../weights/frozen-weight.js';
import { runIfFused } from './define-op.js';

/**
 * The values in a tensor that the backend holds in bf16: float32 to the tensor library. f32 values are rounded to the nearest.
 * @param source values, a frozen weight, or a shape for zeros
 * @throws LftError options-invalid where the backend cannot
 */
export function holdBf16(source: tf.Tensor | FrozenWeight | readonly number[]): tf.Tensor {
  if (!capabilities().trainsBf16) {
    throw new LftError(
      'options-invalid',
      `weights that train are held in bf16 on the native backend only; the current one is ${tf.getBackend()}. Take weights: 'f32', or see \`lft doctor\` for how to get the native backend.`,
      { backend: tf.getBackend() },
    );
  }
  if (source instanceof tf.Tensor) return runIfFused('LftHoldBf16', { x: source }, { shape: source.shape })![0]!;
  if (!(source instanceof FrozenWeight)) return runIfFused('LftHoldBf16', {}, { shape: source })![0]!;
  if (source.format === 'bf16') return runIfFused('LftHoldBf16', {}, { shape: source.shape, weight: source })![0]!;
  return tf.tidy(() => holdBf16(source.tensor()));
}
