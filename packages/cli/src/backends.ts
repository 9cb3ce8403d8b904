import { pathToFileURL } from 'node:url';
import { LftError, useBackend } from '@lft/core';
import { resolvePackage } from './plugins/resolve-package.js';

export interface BackendFacts {
  readonly name: string;
  /** The package that brings it, where it is not part of the core. */
  readonly package?: string;
  readonly about: string;
}

/** Backends by preference for a description; the default is wasm. */
export const BACKENDS: readonly BackendFacts[] = [
  { name: 'wasm', about: 'runs anywhere, nothing to compile: the default' },
  { name: 'cpu', about: 'plain JavaScript: slow, for checks' },
  { name: 'native', package: '@lft/backend-native', about: 'oneDNN kernels on the CPU' },
  { name: 'tensorflow', package: '@tensorflow/tfjs-node', about: "TensorFlow's kernels" },
  { name: 'webgpu', package: '@tensorflow/tfjs-backend-webgpu', about: 'a graphics card through WebGPU' },
];

/** The file that a backend's package is loaded from, or undefined where it is not installed. */
export function installedBackend({ package: name }: BackendFacts): string | undefined {
  return name === undefined ? undefined : resolvePackage(name, process.cwd());
}

/**
 * Makes a backend the current one, with its package when it has one.
 * @throws LftError backend-unavailable
 */
export async function startBackend(name: string): Promise<string> {
  const facts = BACKENDS.find((backend) => backend.name === name);
  if (facts?.package) {
    const file = installedBackend(facts);
    if (!file) {
      throw new LftError(
        'backend-unavailable',
        `backend "${name}" is not installed: npm i ${facts.package}, or use --backend wasm. lft doctor shows what works here.`,
        { backend: name, package: facts.package },
      );
    }
    try {
      await import(pathToFileURL(file).href);
    } catch (cause) {
      throw new LftError(
        'backend-unavailable',
        `backend "${name}": ${facts.package} is installed and cannot be loaded: ${(cause as Error).message}`,
        { backend: name },
        { cause },
      );
    }
  }
  return useBackend(name);
}
