import * as tf from '@tensorflow/tfjs-core';
import { batchedAttention, batchedAttentionGradients } from './batched-attention.js';
import { frozenProduct } from './frozen-product.js';

type Kernel = (inputs: tf.NamedTensorInfoMap, attributes: never) => tf.Tensor | tf.Tensor[];

/** The ops that have a kernel of their own here. The others run their reference, on the tensor library's shaders. */
const KERNELS: { readonly [kernelName: string]: Kernel } = {
  LftFrozenProduct: frozenProduct,
  LftAttention: batchedAttention,
  LftAttentionGradients: batchedAttentionGradients,
};

export function registerKernels(backendName: string): void {
  for (const [kernelName, kernel] of Object.entries(KERNELS)) {
    // A run that began on the plain backend has the reference under this name.
    if (tf.getKernel(kernelName, backendName)) tf.unregisterKernel(kernelName, backendName);
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({ inputs, attrs }) => tf.tidy(() => kernel(inputs, attrs as never)),
    });
  }
}
