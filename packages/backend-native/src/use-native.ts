import { LftError, useBackend } from '@lft/core';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { decoding } from './kernels/decoding.js';
import { elementwise, FLOAT_ONLY, reduction } from './kernels/elementwise.js';
import { fused } from './kernels/fused.js';
import type { Kernel } from './kernels/kernel.js';
import { layout, TAKES_ALL, takesLayout } from './kernels/layout.js';
import { lowRank } from './kernels/low-rank.js';
import { runPlain, tellPlain } from './kernels/plain.js';
import { products } from './kernels/products.js';
import { loadAddon } from './load-addon.js';
import { NativeBackend } from './native-backend.js';

export const NAME = 'native';

export interface NativeOptions {
  /**
   * `f32` (default) multiplies f32 operands as they are; beside bf16 weights values are bf16 and products run on the bf16 units, as under
   * autocast. `bf16` rounds the operands of every product for these units, trained f32 matrices too. Sums are f32 either way.
   */
  readonly precision?: 'f32' | 'bf16';
  /** Threads of the kernels. Default: one a core. @throws LftError options-invalid below 1 or above the cores */
  readonly threads?: number;
}

/** Makes the native backend the current one. @throws LftError backend-unavailable where the addon is not there */
export async function useNative({ precision = 'f32', threads }: NativeOptions = {}): Promise<string> {
  const addon = loadAddon(threads);
  if (tf.engine().registryFactory[NAME]) tf.removeBackend(NAME);
  tf.registerBackend(NAME, () => new NativeBackend(addon, precision), 3);
  registerKernels();
  return useBackend(NAME);
}

function registerKernels(): void {
  const own = new Map<string, Kernel>(
    [...elementwise, ...reduction, ...layout, ...products, ...lowRank, ...fused, ...decoding].map((kernel) => [
      kernel.name,
      kernel,
    ]),
  );
  const layoutNames = new Set(layout.map(({ name }) => name));
  const takes = (name: string, inputs: object, attributes: Record<string, unknown>) => {
    const tensors = Object.values(inputs).flat() as tf.TensorInfo[];
    if (layoutNames.has(name)) return takesLayout(name, tensors, attributes);
    return tensors.every(({ dtype }) => dtype === 'float32');
  };
  for (const { kernelName } of tf.getKernelsForBackend(NAME)) tf.unregisterKernel(kernelName, NAME);
  for (const kernel of own.values()) {
    const takesAll = TAKES_ALL.has(kernel.name) || !(FLOAT_ONLY.has(kernel.name) || layoutNames.has(kernel.name));
    tf.registerKernel({
      kernelName: kernel.name,
      backendName: NAME,
      kernelFunc: ({ inputs, attrs = {}, backend }) =>
        takesAll || takes(kernel.name, inputs, attrs)
          ? kernel.run(backend as NativeBackend, inputs, attrs)
          : runPlain(backend as NativeBackend, kernel.name, inputs, attrs),
    });
  }
  for (const { kernelName } of tf.getKernelsForBackend('cpu')) {
    if (own.has(kernelName)) continue;
    tf.registerKernel({
      kernelName,
      backendName: NAME,
      kernelFunc: ({ inputs, attrs, backend }) => {
        tellPlain(kernelName);
        return runPlain(backend as NativeBackend, kernelName, inputs, attrs);
      },
    });
  }
}

/** Kept for callers that check before they choose. */
export function nativeProblem(): string | undefined {
  try {
    loadAddon(undefined);
    return undefined;
  } catch (error) {
    return LftError.is(error) ? (error as Error).message : String(error);
  }
}
