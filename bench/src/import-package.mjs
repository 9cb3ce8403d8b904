import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { workspacePackages } from '../../scripts/workspace.mjs';

const require = createRequire(import.meta.url);

/** The file that `import` of an export's target leads to. */
function importTarget(target) {
  if (typeof target === 'string' || target === undefined) return target;
  return importTarget(target.import ?? target.node ?? target.default);
}

/**
 * The folder of a package: one of this workspace, built or not, or one that is installed.
 * @param from folder whose dependencies are looked at
 */
export function packageFolder(name, from = import.meta.dirname) {
  const here = workspacePackages().find(({ manifest }) => manifest.name === name);
  if (here) return here.folder;
  for (const base of createRequire(path.join(from, 'package.json')).resolve.paths(name) ?? []) {
    const folder = path.join(base, name);
    if (existsSync(path.join(folder, 'package.json'))) return folder;
  }
  return undefined;
}

/**
 * Imports a package by name. Plugins and backends are no dependencies of the benchmark: what is in the workspace is used.
 * @throws Error with the remedy, when it is not there or not built
 */
export async function importPackage(name) {
  const folder = packageFolder(name);
  if (!folder)
    throw new Error(`${name} is not there: neither in packages/ nor installed. Install it, or leave it out.`);
  const { exports, module, main } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const file = path.join(folder, importTarget(exports?.['.'] ?? exports) ?? module ?? main ?? 'index.js');
  if (!existsSync(file)) throw new Error(`${name} is not built (${file} is missing): npm run build`);
  return import(pathToFileURL(file).href);
}

/** The tensor library that @lft/core uses: the same copy, with the same registry. */
export async function importTensorLibrary() {
  const core = packageFolder('@lft/core');
  return import(pathToFileURL(require.resolve('@tensorflow/tfjs-core', { paths: [core] })).href);
}
