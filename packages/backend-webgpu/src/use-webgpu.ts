import { parseOptions, useBackend } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { EventPump } from './event-pump.js';
import { loadPackages, unavailable } from './find-packages.js';
import { registerKernels } from './register-kernels.js';
import { synchronousBackend } from './synchronous-backend.js';
import type { Gpu, GpuAdapter } from './webgpu-types.js';

export const webGpuOptions = z.object({
  powerPreference: z
    .enum(['high-performance', 'low-power'])
    .default('high-performance')
    .describe('which card of a machine that has two'),
});
export type WebGpuOptions = z.input<typeof webGpuOptions>;

const BACKEND = 'webgpu';

/** Limits that the backend's kernels need as high as the card has them; a device has the lowest by itself. */
const LIMITS = [
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeWorkgroupSizeX',
  'maxComputeInvocationsPerWorkgroup',
] as const;

/** The card that this process uses: chosen once. */
let started: { readonly adapter: GpuAdapter; readonly gpu: Gpu } | undefined;

/**
 * Makes WebGPU the current backend, in Node: through Dawn (package `webgpu`) and @tensorflow/tfjs-backend-webgpu, which are loaded on the
 * first call.
 * @returns the backend's name
 * @throws LftError backend-unavailable where a package is missing, or no card can be used; options-invalid
 */
export async function useWebGpu(options: WebGpuOptions = {}): Promise<string> {
  const { powerPreference } = parseOptions(BACKEND, webGpuOptions, options);
  if (!started) await start(powerPreference);
  return useBackend(BACKEND);
}

/** The card and its driver in words, once `useWebGpu` has started it. */
export function describeWebGpu(): string {
  return started?.adapter.info.description || 'a card that does not say its name';
}

async function start(powerPreference: string): Promise<void> {
  // Notes of the tensor library: that reading is slow, that the platform is set twice.
  tf.env().set('PROD', true);
  let gpu: Gpu | undefined;
  const backendModule = await loadPackages((dawn) => {
    gpu = dawn.create([]);
    Object.assign(globalThis, dawn.globals);
    const navigator = (globalThis as { navigator?: object }).navigator;
    if (navigator) Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true });
    else Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  });
  const adapter = await gpu!.requestAdapter({ powerPreference });
  if (!adapter) {
    throw unavailable(
      'no card that WebGPU can use was found',
      'it needs a driver for Vulkan (Linux), Metal (macOS) or Direct3D 12 (Windows); on Linux vulkaninfo lists what there is',
    );
  }
  const events = new EventPump();
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]!]));
  const device = await events
    .capture(() => adapter.requestDevice({ requiredLimits }))
    .catch((cause) => {
      throw unavailable(`the card cannot be opened (${String((cause as Error).message)})`, 'update its driver', cause);
    });
  if (!events.ready) {
    throw unavailable('this version of the package webgpu gives no way to wait for the card', 'npm i webgpu@0.6.2');
  }
  // The package registered its own on import.
  if (tf.engine().registryFactory[BACKEND]) tf.removeBackend(BACKEND);
  tf.registerBackend(BACKEND, () => synchronousBackend(backendModule, device, adapter.info, events));
  registerKernels(BACKEND);
  started = { adapter, gpu: gpu! };
}
