import type { FrozenWeight } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import { frozenProduct } from './frozen-product.js';

interface LinearAttributes {
  readonly weight: FrozenWeight;
}

/** LftLinear: y = x·Wᵀ with a frozen W. @returns [N, out] */
export function linear({ x }: tf.NamedTensorInfoMap, { weight }: LinearAttributes): tf.Tensor {
  return frozenProduct(x!, weight, true);
}

/** LftLinearInputGradient: dX = dY·W. @returns [N, in] */
export function linearInputGradient({ dy }: tf.NamedTensorInfoMap, { weight }: LinearAttributes): tf.Tensor {
  return frozenProduct(dy!, weight, false);
}
