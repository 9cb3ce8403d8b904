import * as tf from '@tensorflow/tfjs-core';
import { heldTensor } from '../held-tensors.js';
import { BACKEND } from '../node-binding.js';
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

/** The ops that have a kernel of their own here. The others run their reference, on TensorFlow's elementary kernels. */
const KERNELS: { readonly [kernelName: string]: Kernel } = {
  LftLinear: linear,
  LftLinearInputGradient: linearInputGradient,
  LftAdd: add,
  LftAccumulate: accumulate,
  LftLowRank: lowRank,
  LftLowRankGradients: lowRankGradients,
  LftRmsNorm: rmsNorm,
  LftRmsNormInputGradient: rmsNormInputGradient,
  LftRotary: rotary,
  LftAttention: attention,
  LftAttentionGradients: attentionGradients,
  LftSwiglu: swiglu,
  LftSwigluGradients: swigluGradients,
  LftLinearCrossEntropy: linearCrossEntropy,
  LftAdamWStep: adamwStep,
};

let registered = false;

/** Registers them. Idempotent. */
export function registerKernels(): void {
  if (registered) return;
  for (const [kernelName, kernel] of Object.entries(KERNELS)) {
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
