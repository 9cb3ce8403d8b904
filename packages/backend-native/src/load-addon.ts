import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { LftError } from '@lft/core';
import type { Addon } from './addon.js';

const PLATFORM = `${process.platform}-${process.arch}`;
let loaded: Addon | undefined;

/** Where the addon may lie: a build of this repository, or a prebuilt package for the platform. */
function candidates(): string[] {
  const built = path.join(__dirname, '..', 'build', PLATFORM, 'lft_native.node');
  const named = process.env.LFT_NATIVE_ADDON;
  return named ? [named] : [built];
}

/** @throws LftError backend-unavailable, options-invalid */
export function loadAddon(threads: number | undefined): Addon {
  const cores = availableParallelism();
  if (threads !== undefined && (!Number.isInteger(threads) || threads < 1 || threads > cores)) {
    throw new LftError(
      'options-invalid',
      `threads is ${threads}: this machine has ${cores} cores, so give 1 to ${cores}`,
      { threads, cores },
    );
  }
  loaded ??= open();
  loaded.setThreads(threads ?? cores);
  return loaded;
}

function open(): Addon {
  // Threads that wait spin for microseconds, not for milliseconds: another process that holds a core would stall every kernel.
  process.env.GOMP_SPINCOUNT ??= '20000';
  const require = createRequire(__filename);
  const found = candidates().find((file) => existsSync(file));
  const name = found ?? `@lft/backend-native-${PLATFORM}`;
  try {
    return require(name) as Addon;
  } catch (cause) {
    const problem = found ? `${found} does not load: ${(cause as Error).message}` : `there is no addon for ${PLATFORM}`;
    throw new LftError(
      'backend-unavailable',
      `the native backend is not available: ${problem}. Build it with \`npm run build:native\`, or go on without it: the wasm backend does the same, slower.`,
      { platform: PLATFORM },
      { cause },
    );
  }
}
