import { useBackend } from '@lft/core';
import { importPackage, packageFolder } from './import-package.mjs';

/** Backends that have a package of their own, what in it makes them the current one, and with which options. */
const PACKAGES = {
  native: { name: '@lft/backend-native', start: 'useNative' },
  // f32 weights whose products are rounded to bf16, as PyTorch's 'medium' does where the processor has matrix units.
  'native-bf16': { name: '@lft/backend-native', start: 'useNative', options: { precision: 'bf16' } },
  tensorflow: { name: '@lft/backend-tensorflow', start: 'useTensorFlow' },
};

export const BACKENDS = [...Object.keys(PACKAGES), 'wasm'];

/** Whether the backend's package is there; whether it starts shows when it is started. */
export const hasBackend = (name) => name === 'wasm' || packageFolder(PACKAGES[name].name) !== undefined;

/**
 * Makes a backend the current one.
 * @throws Error with the remedy, when its package is not there or does not start
 */
export async function startBackend(name) {
  const known = PACKAGES[name];
  if (!known) return useBackend(name);
  const module = await importPackage(known.name);
  if (typeof module[known.start] !== 'function') throw new Error(`${known.name} has no ${known.start}()`);
  await module[known.start](known.options);
  return name;
}
