import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { packageFolder } from './import-package.mjs';

/** Bytes of the files below a folder that `counts`; links are not followed. */
export function folderBytes(folder, counts = () => true) {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (!counts(file)) continue;
    if (entry.isDirectory()) bytes += folderBytes(file, counts);
    else if (entry.isFile()) bytes += lstatSync(file).size;
  }
  return bytes;
}

/**
 * Bytes of node_modules in a program that depends on these packages: they and all that they depend on, each once. Of a package of this
 * workspace only what it publishes counts.
 */
export function installedBytes(names) {
  const seen = new Set();
  const visit = (name, from) => {
    const folder = packageFolder(name, from);
    if (!folder || seen.has(folder)) return 0;
    seen.add(folder);
    const { dependencies, peerDependencies, optionalDependencies, files } = JSON.parse(
      readFileSync(path.join(folder, 'package.json'), 'utf8'),
    );
    const inWorkspace = !folder.split(path.sep).includes('node_modules');
    const parts = inWorkspace && files ? files.map((part) => path.join(folder, part)) : [folder];
    const own = parts
      .filter(existsSync)
      .reduce((sum, part) => sum + (lstatSync(part).isFile() ? lstatSync(part).size : folderBytes(part, published)), 0);
    return Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies }).reduce(
      (sum, dependency) => sum + visit(dependency, folder),
      own,
    );
  };
  return names.reduce((sum, name) => sum + visit(name, import.meta.dirname), 0);
}

const published = (file) => path.basename(file) !== 'node_modules';

/** Libraries for graphics cards: what a build of PyTorch for the CPU alone leaves out. */
const forGraphicsCards =
  /site-packages[\\/](nvidia|triton|cuda\w*)\b|[\\/]lib\w*(cuda|cudnn|cublas|nccl|nvrtc|nvshmem|cupti)[^\\/]*\.so/;

/** Bytes of the Python environment: all, and without what only graphics cards use. */
export function environmentBytes(folder) {
  return { all: folderBytes(folder), processorOnly: folderBytes(folder, (file) => !forGraphicsCards.test(file)) };
}
