import { pathToFileURL } from 'node:url';
import { ensureBackend, LftError, useBackend } from '@lft/core';
import { resolvePackage } from './plugins/resolve-package.js';

export interface BackendFacts {
  readonly name: string;
  /** The package that brings it, where it is not part of the core. */
  readonly package?: string;
  /** The function of that package that makes it the current one; without it, importing the package registers the backend. */
  readonly start?: string;
  /** The function of that package that tells in words, for doctor, what it is on this machine; it is called once the backend has started. */
  readonly describe?: string;
  /** The package as it lies beside the command, where the working directory has none. */
  load?(): Promise<object>;
  readonly about: string;
}

/** Backends, fastest first. */
export const BACKENDS: readonly BackendFacts[] = [
  {
    name: 'native',
    package: '@lft/backend-native',
    start: 'useNative',
    describe: 'describeNative',
    about: 'oneDNN kernels on the CPU: the default where it works',
  },
  { name: 'wasm', about: 'runs anywhere, nothing to compile' },
  { name: 'cpu', about: 'plain JavaScript: slow, for checks' },
  {
    name: 'tensorflow',
    package: '@lft/backend-tensorflow',
    start: 'useTensorFlow',
    load: () => import('@lft/backend-tensorflow'),
    about: 'TensorFlow on the CPU or a CUDA card',
  },
  { name: 'webgpu', package: '@tensorflow/tfjs-backend-webgpu', about: 'a graphics card through WebGPU' },
];

/** The file that a backend's package is loaded from, or undefined where it is not installed. */
export function installedBackend({ package: name }: BackendFacts): string | undefined {
  return name === undefined ? undefined : resolvePackage(name, process.cwd());
}

/** The backend's package, from the working directory or else from beside the command; undefined where it is in neither. */
export async function backendPackage(facts: BackendFacts): Promise<object | undefined> {
  const file = installedBackend(facts);
  if (file) return (await import(pathToFileURL(file).href)) as object;
  try {
    return await facts.load?.();
  } catch (error) {
    if (['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return undefined;
    throw error;
  }
}

/**
 * Makes a backend the current one, with its package when it has one.
 * @param name undefined: the fastest that works
 * @throws LftError backend-unavailable
 */
export async function startBackend(name: string | undefined): Promise<string> {
  if (name === undefined) return ensureBackend();
  const facts = BACKENDS.find((backend) => backend.name === name);
  if (!facts?.package) return useBackend(name);
  let module: object | undefined;
  try {
    module = await backendPackage(facts);
  } catch (cause) {
    throw new LftError(
      'backend-unavailable',
      `backend "${name}": ${facts.package} is installed and cannot be loaded: ${(cause as Error).message}`,
      { backend: name },
      { cause },
    );
  }
  if (!module) {
    throw new LftError(
      'backend-unavailable',
      `backend "${name}" is not installed: npm i ${facts.package}, or use --backend wasm. lft doctor shows what works here.`,
      { backend: name, package: facts.package },
    );
  }
  if (facts.start) await (module as Record<string, () => Promise<unknown>>)[facts.start]!();
  return useBackend(name);
}
