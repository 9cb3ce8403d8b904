import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

/** Conditions of package.json "exports" that an import fulfils. */
const CONDITIONS = ['node', 'import', 'module-sync', 'default'];

/**
 * The file that `import name` would load for a module in `folder`, or undefined where the package is not installed. Node resolves
 * imports from the importing file only, so the folders are walked here.
 */
export function resolvePackage(name: string, folder: string): string | undefined {
  for (let at = path.resolve(folder); ; at = path.dirname(at)) {
    const root = path.join(at, 'node_modules', name);
    if (existsSync(path.join(root, 'package.json'))) return entryOf(root);
    if (path.dirname(at) === at) break;
  }
  // A path inside a package, or a folder that only Node's own rules know.
  try {
    return createRequire(path.join(folder, 'lft.js')).resolve(name);
  } catch {
    return undefined;
  }
}

function entryOf(root: string): string {
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    exports?: unknown;
    main?: string;
  };
  return path.join(root, target(manifest.exports) ?? manifest.main ?? 'index.js');
}

function target(exports: unknown): string | undefined {
  if (typeof exports === 'string') return exports;
  if (typeof exports !== 'object' || exports === null) return undefined;
  if (Array.isArray(exports)) return exports.map(target).find((found) => found !== undefined);
  if ('.' in exports) return target(exports['.']);
  // The order of the keys is the author's, as in Node.
  for (const [condition, value] of Object.entries(exports)) {
    const found = CONDITIONS.includes(condition) ? target(value) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}
