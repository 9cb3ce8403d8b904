import { readFileSync } from 'node:fs';
import path from 'node:path';
import util from 'node:util';
import { LftError, parseOptions, useBackend } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { CPU_PACKAGE, findPackage, GPU_PACKAGE, type NodePackage, requireFrom, searchFolders } from './find-package.js';
import { widenOnDemand } from './held-tensors.js';
import { registerKernels } from './kernels/register-kernels.js';
import { BACKEND, nodeBackend } from './node-binding.js';

export const tensorFlowOptions = z.object({
  gpu: z
    .boolean()
    .optional()
    .describe('true: tfjs-node-gpu; false: tfjs-node; by itself the one that is built, tfjs-node-gpu first'),
  threads: z.number().int().positive().optional().describe('threads of an operation; by itself one a core'),
});
export type TensorFlowOptions = z.input<typeof tensorFlowOptions>;

/** What runs. */
export interface TensorFlowFacts {
  /** Folder of the package. */
  readonly package: string;
  /** Version of the TensorFlow library. */
  readonly tensorflow: string;
  readonly device: 'CPU' | 'GPU';
}

/**
 * Makes TensorFlow the current backend, with kernels of its own for the hot ops. The package and its library are loaded on the first call.
 * @returns the backend's name
 * @throws LftError backend-unavailable where the package, its addon or the library is missing; options-invalid
 */
export async function useTensorFlow(options: TensorFlowOptions = {}): Promise<string> {
  const { gpu, threads } = parseOptions('tensorflow', tensorFlowOptions, options);
  load(installed(gpu), threads);
  await useBackend(BACKEND);
  registerKernels();
  return BACKEND;
}

/** What runs, once `useTensorFlow` has started it. */
export function tensorFlowFacts(): TensorFlowFacts | undefined {
  if (!loaded) return undefined;
  const { binding } = nodeBackend();
  return {
    package: loaded.root,
    tensorflow: binding.TF_Version,
    device: binding.isUsingGpuDevice() ? 'GPU' : 'CPU',
  };
}

/** The package that `useTensorFlow` would load, or undefined where there is none that could start. */
export function readyPackage(gpu?: boolean): NodePackage | undefined {
  return candidates(gpu).find(({ built }) => built);
}

function candidates(gpu: boolean | undefined): NodePackage[] {
  // Who has built the one for a card wants it used.
  const names = gpu === undefined ? [GPU_PACKAGE, CPU_PACKAGE] : [gpu ? GPU_PACKAGE : CPU_PACKAGE];
  return names.flatMap((name) => findPackage(name, searchFolders()) ?? []);
}

function installed(gpu: boolean | undefined): NodePackage {
  const ready = readyPackage(gpu);
  if (ready) return ready;
  const unbuilt = candidates(gpu).at(-1);
  const name = unbuilt?.name ?? (gpu ? GPU_PACKAGE : CPU_PACKAGE);
  const setup = setupCommand(name);
  throw unavailable(
    unbuilt
      ? { state: `${name} is installed without its addon`, remedy: `${setup} builds it` }
      : { state: `${name} is not installed`, remedy: `npm i ${name}@4.22.0 --ignore-scripts, then ${setup}` },
  );
}

const setupCommand = (name: string) => `lft setup tensorflow${name === GPU_PACKAGE ? ' --gpu' : ''}`;

/** The facts hold both halves of the message by themselves: doctor shows them in columns. */
function unavailable(facts: { readonly state: string; readonly remedy: string }, cause?: unknown): LftError {
  return new LftError('backend-unavailable', `backend "tensorflow": ${facts.state}: ${facts.remedy}`, facts, { cause });
}

/** The package that this process has loaded: there can be one, as both bring a backend of the same name. */
let loaded: { readonly root: string; readonly threads: number | undefined } | undefined;

function load(found: NodePackage, threads: number | undefined): void {
  if (loaded) {
    checkLoaded(found, threads);
    return;
  }
  // TensorFlow reads these when it starts. Its notes on the processor are not for users of this library.
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  // A graph runs in the thread that calls it: waking another takes as long as a small graph.
  process.env.TF_NUM_INTEROP_THREADS ??= '-1';
  if (threads !== undefined) process.env.TF_NUM_INTRAOP_THREADS = String(threads);
  // The library's own notes, e.g. that the plain backend is registered by two packages.
  tf.env().set('PROD', true);
  restoreUtil();
  checkVersion(found);
  try {
    requireFrom(found.root)(found.root);
  } catch (cause) {
    const state = `${found.name} cannot be loaded (${firstLine(cause)})`;
    throw unavailable({ state, remedy: `${setupCommand(found.name)} builds it again` }, cause);
  }
  widenOnDemand(nodeBackend());
  loaded = { root: found.root, threads };
}

function checkLoaded(found: NodePackage, threads: number | undefined): void {
  if (found.root !== loaded?.root || (threads !== undefined && threads !== loaded.threads)) {
    throw new LftError(
      'options-invalid',
      `tensorflow: it runs in this process already, from ${loaded?.root} with ${loaded?.threads ?? 'its own number of'} threads: the package and the threads are chosen once, before anything else uses it`,
      { loaded, asked: { root: found.root, threads } },
    );
  }
}

/** tfjs-node 4.22 calls two functions that Node 23 has removed, and Node 22 warns of. */
function restoreUtil(): void {
  Object.assign(util, {
    isNullOrUndefined: (value: unknown) => value === null || value === undefined,
    isArray: Array.isArray,
  });
}

/** Two versions of the tensor library would register kernels in one registry for tensors of the other. */
function checkVersion(found: NodePackage): void {
  // The package depends on the whole tensor library, which depends on its core.
  const whole = requireFrom(path.dirname(requireFrom(found.root).resolve('@tensorflow/tfjs/package.json')));
  const file = whole.resolve('@tensorflow/tfjs-core/package.json');
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  if (version === tf.version_core) return;
  throw unavailable({
    state: `${found.name} ${found.version} uses @tensorflow/tfjs-core ${version} (${path.dirname(file)}), and lft uses ${tf.version_core}`,
    remedy: `npm i ${found.name}@${tf.version_core} --ignore-scripts, then ${setupCommand(found.name)}`,
  });
}

function firstLine(error: unknown): string {
  return String((error as Error).message ?? error)
    .split('\n')[0]!
    .trim();
}
