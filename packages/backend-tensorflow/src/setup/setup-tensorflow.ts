import { existsSync } from 'node:fs';
import path from 'node:path';
import { LftError, parseOptions } from '@lft/core';
import { z } from 'zod';
import { CPU_PACKAGE, findPackage, GPU_PACKAGE, type NodePackage, searchFolders } from '../find-package.js';
import { compileBinding } from './compile-binding.js';
import { cacheFolder, fetchLibrary, givenLibrary, libraryIn } from './library.js';
import { verifyBinding } from './verify-binding.js';

export const setupOptions = z.object({
  gpu: z.boolean().default(false).describe('build tfjs-node-gpu, against TensorFlow with CUDA'),
  tensorflow: z
    .string()
    .regex(/^\d+\.\d+\.\d+$/, 'a version such as 2.15.1')
    .default('2.15.1')
    .describe('version of the library that pip fetches'),
  library: z.string().optional().describe('folder of an installed TensorFlow, in place of fetching one'),
  folder: z.string().optional().describe('project whose node_modules has tfjs-node; the working directory'),
});
export type SetupOptions = z.input<typeof setupOptions>;

export interface SetupResult {
  /** Folder of the package that was built. */
  readonly package: string;
  /** The addon. */
  readonly binding: string;
  /** Folder of the library, which has to stay where it is. */
  readonly library: string;
  readonly tensorflow: string;
  readonly device: 'CPU' | 'GPU';
  readonly seconds: number;
}

/**
 * Makes an installed tfjs-node usable without its own download: finds or fetches the TensorFlow library, compiles the addon against it,
 * and checks it by a product and a gradient.
 * @param log takes a line before each step and after it
 * @throws LftError backend-unavailable, options-invalid
 */
export async function setupTensorFlow(
  options: SetupOptions = {},
  log: (line: string) => void = () => undefined,
): Promise<SetupResult> {
  const { gpu, tensorflow: version, library: given, folder } = parseOptions('setup tensorflow', setupOptions, options);
  const start = performance.now();
  const seconds = (from: number) => (performance.now() - from) / 1000;
  const timed = async <T>(what: string, step: () => Promise<T>, done: (result: T) => string): Promise<T> => {
    log(what);
    const from = performance.now();
    const result = await step();
    log(`  ${done(result)} (${seconds(from).toFixed(1)} s)`);
    return result;
  };

  if (process.platform !== 'linux') {
    throw new LftError(
      'backend-unavailable',
      `setup builds on Linux, and this is ${process.platform}: here the package's own installer brings the library, npm rebuild ${gpu ? GPU_PACKAGE : CPU_PACKAGE}`,
    );
  }
  const target = targetPackage(gpu, folder);
  log(`Package: ${target.name} ${target.version} in ${target.root}`);

  const cached = given === undefined && libraryIn(cacheFolder(gpu, version)) !== undefined;
  const fetching = `Fetching TensorFlow ${version} with pip ${gpu ? '(with CUDA: several GB)' : '(207 MB for 2.15.1, 615 MB unpacked)'}`;
  const library = await timed(
    given !== undefined ? `Library: looking in ${given}` : cached ? 'Library: looking in the cache' : fetching,
    async () => (given !== undefined ? givenLibrary(given) : fetchLibrary(gpu, version)),
    ({ files }) => path.dirname(files[0]!),
  );
  await timed(
    'Compiling the addon from the sources of the package',
    () => compileBinding(target, library),
    (compiler) => `${target.binding}, by ${compiler}`,
  );
  const verified = await timed(
    'Checking a product, its gradient and a bf16 product in a process of its own',
    () => verifyBinding(target),
    ({ tensorflow, device }) => `right, on the ${device}, by TensorFlow ${tensorflow}`,
  );
  if (gpu && verified.device === 'CPU') log('  No CUDA device was found: it computes on the CPU.');
  return {
    package: target.root,
    binding: target.binding,
    library: path.dirname(library.files[0]!),
    ...verified,
    seconds: seconds(start),
  };
}

function targetPackage(gpu: boolean, folder: string | undefined): NodePackage {
  const name = gpu ? GPU_PACKAGE : CPU_PACKAGE;
  const found = findPackage(name, folder === undefined ? searchFolders() : [folder]);
  if (!found) {
    throw new LftError(
      'backend-unavailable',
      `${name} is not installed in ${path.resolve(folder ?? '.')}: npm i ${name}@4.22.0 --ignore-scripts, and once more`,
      { package: name },
    );
  }
  const source = path.join(found.root, 'binding', 'tfjs_backend.cc');
  if (!existsSync(source)) {
    throw new LftError('backend-unavailable', `${source} is not there: ${name} ${found.version} brings no sources`);
  }
  return found;
}
