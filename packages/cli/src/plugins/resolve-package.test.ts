import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { resolvePackage } from './resolve-package.js';

const root = mkdtempSync(path.join(tmpdir(), 'lft-resolve-'));
afterAll(() => rmSync(root, { recursive: true }));

function install(name: string, manifest: object): string {
  const folder = path.join(root, 'node_modules', name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ name, ...manifest }));
  return folder;
}

test.each<[string, object, string]>([
  [
    'import before require',
    { exports: { '.': { require: './a.cjs', import: { types: './a.d.ts', default: './a.js' } } } },
    'a.js',
  ],
  ['exports as a text', { exports: './only.js', main: './old.js' }, 'only.js'],
  ['conditions without a dot', { exports: { import: './esm.mjs' } }, 'esm.mjs'],
  ['main', { main: './lib/main.js' }, 'lib/main.js'],
  ['nothing', {}, 'index.js'],
])('the entry of a package: %s', (_, manifest, entry) => {
  const folder = install('@someone/plugin', manifest);
  expect(resolvePackage('@someone/plugin', path.join(root, 'deep/er'))).toBe(path.join(folder, entry));
});

test('a package that is not installed', () => {
  expect(resolvePackage('lft-selector-absent', root)).toBeUndefined();
});
