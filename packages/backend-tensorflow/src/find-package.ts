import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const CPU_PACKAGE = '@tensorflow/tfjs-node';
export const GPU_PACKAGE = '@tensorflow/tfjs-node-gpu';

/** An installed tfjs-node. */
export interface NodePackage {
  readonly name: string;
  readonly version: string;
  /** Its folder. */
  readonly root: string;
  /** The addon: the file where its loader looks for it. */
  readonly binding: string;
  /** Whether the addon is there: its install script did not run, or could not download it, where it is not. */
  readonly built: boolean;
}

/**
 * Folders that the package is looked for in: the one that LFT_TENSORFLOW names, the working directory, and where this library lies.
 */
export function searchFolders(folder = process.cwd()): string[] {
  const named = process.env.LFT_TENSORFLOW;
  return [...(named ? [named] : []), folder, path.dirname(fileURLToPath(import.meta.url))];
}

/** Finds the package in the folders, the first that has it. */
export function findPackage(name: string, folders: readonly string[]): NodePackage | undefined {
  for (const folder of folders) {
    for (let at = path.resolve(folder); ; at = path.dirname(at)) {
      const root = path.join(at, 'node_modules', name);
      if (existsSync(path.join(root, 'package.json'))) return describePackage(root);
      if (path.dirname(at) === at) break;
    }
  }
  return undefined;
}

function describePackage(root: string): NodePackage {
  const { name, version, binary } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    binary?: { napi_versions?: number[] };
  };
  // As node-pre-gyp chooses it: the newest interface that both the package and this Node know.
  const known = (binary?.napi_versions ?? [8]).filter((each) => each <= Number(process.versions.napi));
  const binding = path.join(root, 'lib', `napi-v${Math.max(...known)}`, 'tfjs_binding.node');
  return { name, version, root, binding, built: existsSync(binding) };
}

/** A `require` that resolves as the package in this folder does. */
export function requireFrom(root: string): NodeJS.Require {
  return createRequire(path.join(root, 'package.json'));
}
