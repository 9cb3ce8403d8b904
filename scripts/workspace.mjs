import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's folder. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Folders whose subfolders are packages. */
export const packageParents = ['packages', 'examples'];

/** The folder's package.json. */
export function manifest(folder) {
  return JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
}

/** Every package of the workspace but the root: `{ folder, name, manifest }`, the end-to-end tests last. */
export function workspacePackages() {
  const folders = packageParents
    .filter((parent) => existsSync(path.join(root, parent)))
    .flatMap((parent) => readdirSync(path.join(root, parent)).map((name) => path.join(root, parent, name)));
  return [...folders, path.join(root, 'e2e')]
    .filter((folder) => existsSync(path.join(folder, 'package.json')))
    .map((folder) => ({ folder, name: manifest(folder).name, manifest: manifest(folder) }));
}
