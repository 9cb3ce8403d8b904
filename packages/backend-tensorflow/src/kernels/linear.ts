import type { FrozenWeight } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import { heldTensor } from '../held-tensors.js';
import { TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';
import { frozenProduct } from './frozen-product.js';

interface LinearAttributes {
  readonly weight: FrozenWeight;
  readonly result?: 'f32';
}

/** LftLinear: y = x·Wᵀ with a frozen W. @returns [N, out] */
export function linear({ x }: Record<'x', tf.TensorInfo>, { weight, result }: LinearAttributes): tf.Tensor {
  return RawCall.run((call) => {
    const y = frozenProduct(call, heldTensor(x), weight, true);
    return call.tensor(result === 'f32' ? call.cast(y, TYPE.float32) : y);
  });
}

/** LftLinearInputGradient: dX = dY·W. @returns [N, in] */
export function linearInputGradient({ dy }: Record<'dy', tf.TensorInfo>, { weight }: LinearAttributes): tf.Tensor {
  return RawCall.run((call) => call.tensor(frozenProduct(call, heldTensor(dy), weight, false)));
}
