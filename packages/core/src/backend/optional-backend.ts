import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { LftError } from '../errors/lft-error.js';

/** A backend in a package of its own. The core never depends on these packages. */
export interface OptionalBackend {
  readonly package: string;
  /** The function of the package that makes it the current backend. */
  readonly start: string;
  /** The function of the package that tells in words what it is on this machine, once it has started. */
  readonly describe?: string;
}

export const OPTIONAL_BACKENDS: Readonly<Record<string, OptionalBackend>> = {
  native: { package: '@lft/backend-native', start: 'useNative', describe: 'describeNative' },
  tensorflow: { package: '@lft/backend-tensorflow', start: 'useTensorFlow' },
  webgpu: { package: '@lft/backend-webgpu', start: 'useWebGpu', describe: 'describeWebGpu' },
};

/** Where the program's own project has its packages. */
const projectFolders = () => [process.cwd()];

/**
 * The package of an optional backend, from the first of the folders that has it; undefined where none has.
 * @throws LftError backend-unavailable when the package is there and cannot be loaded
 */
export async function backendPackage(
  name: string,
  folders: readonly string[] = projectFolders(),
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const packageName = OPTIONAL_BACKENDS[name]!.package;
  for (const folder of folders) {
    let manifest: string;
    try {
      manifest = createRequire(path.join(folder, 'package.json')).resolve(`${packageName}/package.json`);
    } catch {
      continue;
    }
    try {
      return (await import(pathToFileURL(entryBeside(manifest)).href)) as Readonly<Record<string, unknown>>;
    } catch (cause) {
      throw new LftError(
        'backend-unavailable',
        `backend "${name}": ${packageName} is installed and cannot be loaded: ${(cause as Error).message}`,
        { backend: name, package: packageName },
        { cause },
      );
    }
  }
  return undefined;
}

/** The entry of this library's own format: the other one would bring a second copy of the core. */
function entryBeside(manifest: string): string {
  const { exports } = JSON.parse(readFileSync(manifest, 'utf8')) as {
    exports: { '.': Record<'import' | 'require', { default: string }> };
  };
  const format = typeof module === 'undefined' ? 'import' : 'require';
  return path.join(path.dirname(manifest), exports['.'][format].default);
}

/**
 * Starts an optional backend.
 * @throws LftError backend-unavailable when the package is missing or cannot be loaded, and what the package throws when it does not work here
 */
export async function startOptionalBackend(name: string, folders?: readonly string[]): Promise<string> {
  const { package: packageName, start } = OPTIONAL_BACKENDS[name]!;
  const found = await backendPackage(name, folders);
  if (!found) {
    throw new LftError(
      'backend-unavailable',
      `backend "${name}" is not installed: npm i ${packageName}, or use wasm, which needs nothing. lft doctor shows what works here.`,
      { backend: name, package: packageName, state: 'not installed', remedy: `npm i ${packageName}` },
    );
  }
  return (found[start] as () => Promise<string>)();
}

/** The fastest of the optional backends that works here, started; undefined where none does. */
export async function startFastest(): Promise<string | undefined> {
  try {
    return await startOptionalBackend('native');
  } catch (error) {
    // Not there, built for another machine, or not built: the bundled backend does the same work.
    if (LftError.is(error)) return undefined;
    throw error;
  }
}
