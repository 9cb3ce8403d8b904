import * as tf from '@tensorflow/tfjs-core';
import { registerElementaryGradients } from '../autodiff/elementary-gradients.js';
import { LftError } from '../errors/lft-error.js';
import { OPTIONAL_BACKENDS, startFastest, startOptionalBackend } from './optional-backend.js';

/** Backends that come with the library, imported when they are asked for. */
const BUNDLED: { readonly [name: string]: () => Promise<unknown> } = {
  wasm: () => import('@tensorflow/tfjs-backend-wasm'),
  cpu: () => import('@tensorflow/tfjs-backend-cpu'),
};

/**
 * Makes a backend of the tensor library the current one.
 * @param name `wasm` (the default: nothing to compile, runs anywhere), `cpu` (plain JavaScript, for tests), one of a package of its own
 *   (`native`, `tensorflow`, `webgpu`), or a backend that the caller registered
 * @param folders where such a package is looked for; by itself as the working directory's project has it
 * @returns the backend's name
 * @throws LftError backend-unavailable
 */
export async function useBackend(name = 'wasm', folders?: readonly string[]): Promise<string> {
  // The plain JavaScript backend advertises another package on first use; doctor gives such advice here.
  tf.env().set('PROD', true);
  if (Object.hasOwn(OPTIONAL_BACKENDS, name) && !tf.engine().registryFactory[name])
    return startOptionalBackend(name, folders);
  const load = BUNDLED[name];
  if (load && !tf.engine().registryFactory[name]) await load();
  if (!tf.engine().registryFactory[name]) {
    throw new LftError(
      'backend-unavailable',
      `no backend "${name}": there is ${[...new Set([...Object.keys(BUNDLED), ...Object.keys(OPTIONAL_BACKENDS), ...Object.keys(tf.engine().registryFactory)])].join(', ')}. Import the package that brings it before it is used.`,
      { backend: name },
    );
  }
  let usable = false;
  try {
    usable = await tf.setBackend(name);
  } catch (cause) {
    throw new LftError(
      'backend-unavailable',
      `backend "${name}" failed to start: ${String(cause)}`,
      { backend: name },
      { cause },
    );
  }
  if (!usable)
    throw new LftError('backend-unavailable', `backend "${name}" did not start on this machine`, { backend: name });
  registerElementaryGradients();
  return tf.getBackend();
}

/**
 * The current backend. Where none was chosen: the one that the environment's LFT_BACKEND names, else the native one where the project has
 * it and it works here, else wasm.
 */
export async function ensureBackend(): Promise<string> {
  const current = tf.engine().backendName;
  if (!current)
    return process.env.LFT_BACKEND ? useBackend(process.env.LFT_BACKEND) : ((await startFastest()) ?? useBackend());
  registerElementaryGradients();
  return current;
}
