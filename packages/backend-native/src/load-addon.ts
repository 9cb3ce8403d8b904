import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { LftError } from '@lft/core';
import type { Addon } from './addon.js';

const PLATFORM = `${process.platform}-${process.arch}`;
const PREBUILT = `@lft/backend-native-${PLATFORM}`;
const PLATFORMS = ['linux-x64', 'linux-arm64'];
/** The bits of a dnnl_cpu_isa_t that say AVX2. */
const AVX2 = 0x7;

const packageFolder = path.join(__dirname, '..');
const requireHere = createRequire(__filename);

let opened: OpenAddon | undefined;

/** The addon, and the file that it came from. */
export interface OpenAddon {
  readonly addon: Addon;
  readonly file: string;
  threads: number;
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
  const current = openAddon();
  current.threads = threads ?? cores;
  current.addon.setThreads(current.threads);
  return current.addon;
}

/** Loads the addon where that was not done. @throws LftError backend-unavailable */
export function openAddon(): OpenAddon {
  if (opened) return opened;
  // Threads that wait spin for microseconds, not for milliseconds: another process that holds a core would stall every kernel.
  process.env.GOMP_SPINCOUNT ??= '20000';
  const file = findAddon();
  const addon = load(file);
  if (process.arch === 'x64' && (addon.describe().isa & AVX2) !== AVX2) {
    throw unavailable('this processor has no AVX2', 'use --backend wasm', file);
  }
  opened = { addon, file, threads: availableParallelism() };
  return opened;
}

/** Where the addon lies: where LFT_NATIVE_ADDON says, else as this repository built it, else in the platform's package. */
function findAddon(): string {
  const named = process.env.LFT_NATIVE_ADDON;
  if (named) {
    const file = path.resolve(named);
    if (existsSync(file)) return file;
    throw unavailable(`LFT_NATIVE_ADDON names ${file}, which does not exist`, 'correct or unset it', file);
  }
  const built = path.join(packageFolder, 'build', PLATFORM, 'lft_native.node');
  if (existsSync(built)) return built;
  try {
    return requireHere.resolve(PREBUILT);
  } catch {
    throw missing();
  }
}

function missing(): LftError {
  if (!PLATFORMS.includes(PLATFORM)) {
    return unavailable(`there is none for ${PLATFORM}, only for Linux on x64 and arm64`, 'use --backend wasm');
  }
  if (existsSync(path.join(packageFolder, 'native'))) return unavailable('not built', 'npm run build:native');
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  if (!header.glibcVersionRuntime) {
    return unavailable('it needs glibc, which this system does not have', 'use --backend wasm');
  }
  return unavailable(`${PREBUILT} is not installed`, `npm install ${PREBUILT}`);
}

function load(file: string): Addon {
  let addon: Partial<Addon>;
  try {
    addon = requireHere(file) as Partial<Addon>;
  } catch (cause) {
    throw unavailable(`${file} does not load: ${(cause as Error).message.trim()}`, remedyFor(file), file, cause);
  }
  if (typeof addon.describe !== 'function') {
    throw unavailable(`${file} is another addon, or one of another version`, remedyFor(file), file);
  }
  return addon as Addon;
}

function remedyFor(file: string): string {
  if (process.env.LFT_NATIVE_ADDON) return 'correct or unset LFT_NATIVE_ADDON';
  return file.startsWith(packageFolder) ? 'npm run build:native' : `reinstall ${PREBUILT}`;
}

/** @param state what is wrong, @param remedy what to do about it: `lft doctor` shows both in its table */
function unavailable(state: string, remedy: string, file?: string, cause?: unknown): LftError {
  return new LftError(
    'backend-unavailable',
    `the native backend is not available: ${state}. Remedy: ${remedy}. The wasm backend does the same work, slower.`,
    { state, remedy, platform: PLATFORM, file },
    { cause },
  );
}
