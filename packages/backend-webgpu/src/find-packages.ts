import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { LftError } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import type { BackendModule, DawnModule } from './webgpu-types.js';

const DAWN = 'webgpu';
const BACKEND = '@tensorflow/tfjs-backend-webgpu';

/** The facts hold both halves of the message by themselves: doctor shows them in columns. */
export function unavailable(state: string, remedy: string, cause?: unknown): LftError {
  return new LftError('backend-unavailable', `backend "webgpu": ${state}: ${remedy}`, { state, remedy }, { cause });
}

/** Where a package's file lies: in the folder that LFT_WEBGPU names, in the working directory, or beside this library. */
function find(name: string): string | undefined {
  const named = process.env.LFT_WEBGPU;
  for (const folder of [...(named ? [named] : []), process.cwd(), path.dirname(fileURLToPath(import.meta.url))]) {
    try {
      return createRequire(path.join(path.resolve(folder), 'package.json')).resolve(name);
    } catch {}
  }
  return undefined;
}

/** @throws LftError backend-unavailable with the command that installs what is missing */
function installed(): { readonly dawn: string; readonly backend: string } {
  const [dawn, backend, manifest] = [find(DAWN), find(BACKEND), find(`${BACKEND}/package.json`)];
  const wanted = `${BACKEND}@${tf.version_core}`;
  const missing = [...(dawn ? [] : [DAWN]), ...(backend ? [] : [wanted])];
  if (!dawn || !backend || !manifest) {
    throw unavailable(
      `${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} not installed`,
      `npm i ${missing.join(' ')}`,
    );
  }
  // Two versions of the tensor library would register kernels in one registry for tensors of the other.
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
  if (version !== tf.version_core) {
    throw unavailable(`${BACKEND} is ${version}, and the tensor library ${tf.version_core}`, `npm i ${wanted}`);
  }
  return { dawn, backend };
}

/** Loads Dawn. It has to be there as `navigator.gpu` before the backend is loaded. */
export async function loadPackages(start: (dawn: DawnModule) => void): Promise<BackendModule> {
  const files = installed();
  let dawn: DawnModule;
  try {
    dawn = (await import(pathToFileURL(files.dawn).href)) as DawnModule;
  } catch (cause) {
    throw unavailable(
      `${DAWN} cannot be loaded (${String((cause as Error).message).split('\n')[0]})`,
      `it has binaries for Linux, macOS and Windows on x64 and arm64: npm i ${DAWN}`,
      cause,
    );
  }
  start(dawn);
  return createRequire(files.backend)(files.backend) as BackendModule;
}
