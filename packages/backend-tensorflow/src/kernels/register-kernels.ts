import * as tf from '@tensorflow/tfjs-core';
import { heldTensor } from '../held-tensors.js';
import { BACKEND, nodeBackend } from '../node-binding.js';
import { RawCall } from '../raw-call.js';
import { adamwStep } from './adamw-step.js';
import { accumulate, add } from './add.js';
import { attention, attentionGradients } from './attention.js';
import { linear, linearInputGradient } from './linear.js';
import { linearCrossEntropy } from './linear-cross-entropy.js';
import { lowRank, lowRankGradients } from './low-rank.js';
import { rmsNorm, rmsNormInputGradient } from './rms-norm.js';
import { rotary } from './rotary.js';
import { swiglu, swigluGradients } from './swiglu.js';

type Kernel = (inputs: never, attributes: never) => tf.Tensor | tf.Tensor[];

/** Products, and what goes between them. */
const PRODUCTS: { readonly [kernelName: string]: Kernel } = {
  LftLinear: linear,
  LftLinearInputGradient: linearInputGradient,
  LftAdd: add,
  LftAccumulate: accumulate,
  LftLowRank: lowRank,
  LftLowRankGradients: lowRankGradients,
  LftAttention: attention,
  LftAttentionGradients: attentionGradients,
  LftLinearCrossEntropy: linearCrossEntropy,
};

/** Elementary operations in one pass. Graphs take and give tensors in the memory of the CPU. */
const COMPILED: { readonly [kernelName: string]: Kernel } = {
  LftRmsNorm: rmsNorm,
  LftRmsNormInputGradient: rmsNormInputGradient,
  LftRotary: rotary,
  LftSwiglu: swiglu,
  LftSwigluGradients: swigluGradients,
  LftAdamWStep: adamwStep,
};

let registered = false;

/** Registers the ops that have a kernel of their own here. The others run their reference, on TensorFlow's elementary kernels. */
export function registerKernels(): void {
  if (registered) return;
  const kernels = nodeBackend().binding.isUsingGpuDevice() ? PRODUCTS : { ...PRODUCTS, ...COMPILED };
  for (const [kernelName, kernel] of Object.entries(kernels)) {
    // A run that began on tfjs-node by itself has the reference under this name.
    if (tf.getKernel(kernelName, BACKEND)) tf.unregisterKernel(kernelName, BACKEND);
    tf.registerKernel({
      kernelName,
      backendName: BACKEND,
      kernelFunc: ({ inputs, attrs }) => kernel(inputs as never, attrs as never),
    });
  }
  reshapeAsHeld();
  registered = true;
}

/** tfjs-node's reshape would widen what it only names anew. */
function reshapeAsHeld(): void {
  const wide = tf.getKernel(tf.Reshape, BACKEND).kernelFunc;
  tf.unregisterKernel(tf.Reshape, BACKEND);
  tf.registerKernel({
    kernelName: tf.Reshape,
    backendName: BACKEND,
    kernelFunc: (call) => {
      const x = call.inputs.x as tf.TensorInfo;
      if (x.dtype !== 'float32') return wide(call);
      const shape = call.attrs!.shape as unknown as number[];
      return RawCall.run((raw) => raw.tensor(raw.reshape(heldTensor(x), ...shape)));
    },
  });
}
