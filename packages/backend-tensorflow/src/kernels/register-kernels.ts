import * as tf from '@tensorflow/tfjs-core';
import { BACKEND } from '../node-binding.js';
import { attention, attentionGradients } from './attention.js';
import { linear, linearInputGradient } from './linear.js';
import { linearCrossEntropy } from './linear-cross-entropy.js';

type Kernel = (inputs: tf.NamedTensorInfoMap, attributes: never) => tf.Tensor | tf.Tensor[];

/** The ops that have a kernel of their own here. The others run their reference, on TensorFlow's elementary kernels. */
const KERNELS: { readonly [kernelName: string]: Kernel } = {
  LftLinear: linear,
  LftLinearInputGradient: linearInputGradient,
  LftAttention: attention,
  LftAttentionGradients: attentionGradients,
  LftLinearCrossEntropy: linearCrossEntropy,
};

let registered = false;

/** Registers the hot ops for TensorFlow. Idempotent. */
export function registerKernels(): void {
  if (registered) return;
  for (const [kernelName, kernel] of Object.entries(KERNELS)) {
    // A run that began on tfjs-node by itself has the reference under this name.
    if (tf.getKernel(kernelName, BACKEND)) tf.unregisterKernel(kernelName, BACKEND);
    tf.registerKernel({
      kernelName,
      backendName: BACKEND,
      kernelFunc: ({ inputs, attrs }) => kernel(inputs, attrs as never),
    });
  }
  registered = true;
}
