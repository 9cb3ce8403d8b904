import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureBackend, useBackend } from '@lft/core';

export interface BackendFacts {
  readonly name: string;
  readonly about: string;
}

/** Backends, fastest first. */
export const BACKENDS: readonly BackendFacts[] = [
  { name: 'native', about: 'oneDNN kernels on the CPU: the default where it works' },
  { name: 'wasm', about: 'runs anywhere, nothing to compile' },
  { name: 'cpu', about: 'plain JavaScript: slow, for checks' },
  { name: 'tensorflow', about: 'TensorFlow on the CPU or a CUDA card' },
  { name: 'webgpu', about: 'a graphics card through WebGPU' },
];

/** A backend's package may lie in the working directory's project, or beside the command. */
export const packageFolders = (): string[] => [process.cwd(), path.dirname(fileURLToPath(import.meta.url))];

/**
 * Makes a backend the current one, with its package when it has one.
 * @param name undefined: the one that LFT_BACKEND names, else the fastest that works
 * @throws LftError backend-unavailable
 */
export async function startBackend(name: string | undefined): Promise<string> {
  const chosen = name ?? process.env.LFT_BACKEND;
  return chosen ? useBackend(chosen, packageFolders()) : ensureBackend();
}
