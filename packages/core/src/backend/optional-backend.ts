import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { LftError } from '../errors/lft-error.js';

/** Backends in packages of their own: the package, and the function in it that makes the backend the current one. */
const PACKAGES: { readonly [name: string]: readonly [packageName: string, start: string] } = {
  native: ['@lft/backend-native', 'useNative'],
  tensorflow: ['@lft/backend-tensorflow', 'useTensorFlow'],
};

export const OPTIONAL_BACKENDS: readonly string[] = Object.keys(PACKAGES);

/** The file of the backend's package as the program's own project has it, or undefined. The core never depends on these packages. */
function resolve(packageName: string): string | undefined {
  try {
    return createRequire(path.join(process.cwd(), 'package.json')).resolve(packageName);
  } catch {
    return undefined;
  }
}

/**
 * Starts a backend of a package that the project may have.
 * @throws LftError backend-unavailable when the package is not installed, and what the package throws when it does not work here
 */
export async function startOptionalBackend(name: string): Promise<string> {
  const [packageName, start] = PACKAGES[name]!;
  const file = resolve(packageName);
  if (!file) {
    throw new LftError(
      'backend-unavailable',
      `backend "${name}" is not installed in ${process.cwd()}: npm install ${packageName}, or use wasm, which needs nothing`,
      { backend: name, package: packageName },
    );
  }
  const module = (await import(pathToFileURL(file).href)) as Record<string, unknown> & {
    default?: Record<string, unknown>;
  };
  const useIt = (module[start] ?? module.default?.[start]) as () => Promise<string>;
  return useIt();
}

/** The fastest of the optional backends that works here, started; undefined where none does. */
export async function startFastest(): Promise<string | undefined> {
  if (!resolve(PACKAGES.native![0])) return undefined;
  try {
    return await startOptionalBackend('native');
  } catch (error) {
    // Built for another machine, or not built: the bundled backend does the same work.
    if (LftError.is(error)) return undefined;
    throw error;
  }
}
