import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { succeed } from './command.js';
import { pack } from './pack.js';
import { publishable, readManifest, repository, temporaryFolder } from './repository.js';

const isTest = (file: string) => /\.test\.|__fixtures__|test-results/.test(file);

describe.each(publishable)('packages/%s', (folder) => {
  const source = path.join(repository, 'packages', folder);
  let tarball: string;
  let unpacked: string;
  let files: string[];

  beforeAll(() => {
    tarball = pack(folder);
    files = succeed('tar', ['-tzf', tarball], source)
      .trim()
      .split('\n')
      .map((file) => file.replace(/^package\//, ''));
    unpacked = temporaryFolder();
    succeed('tar', ['-xzf', tarball, '-C', unpacked], source);
  });

  const packedManifest = () => readManifest(path.join(unpacked, 'package', 'package.json'));

  test('publint and the types check find nothing', () => {
    const output = succeed(process.execPath, [path.join(__dirname, 'check-package.mjs'), tarball], __dirname);
    expect(JSON.parse(output)).toEqual([]);
  });

  test('readme, licence and build are in it, and nothing else', () => {
    expect(files).toEqual(
      expect.arrayContaining(['README.md', 'LICENSE', 'package.json', 'dist/index.js', 'dist/index.cjs']),
    );
    const others = files.filter(
      (file) => !/^(bin\/|dist\/|README\.md$|LICENSE$|CHANGELOG\.md$|package\.json$)/.test(file),
    );
    expect(others).toEqual([]);
    expect(files.filter(isTest)).toEqual([]);
  });

  test('its licence is the repository’s', () => {
    const packed = readFileSync(path.join(unpacked, 'package', 'LICENSE'), 'utf8');
    expect(packed).toBe(readFileSync(path.join(repository, 'LICENSE'), 'utf8'));
  });

  test('no workspace version is left in it', () => {
    expect(JSON.stringify(packedManifest())).not.toContain('workspace:');
  });

  test('what it imports is a dependency or a peer', () => {
    const { name, dependencies = {}, peerDependencies = {} } = packedManifest();
    const declared = new Set([...Object.keys(dependencies), ...Object.keys(peerDependencies), name]);
    const built = files.filter((file) => /^dist\/.*\.(js|d\.ts)$/.test(file));
    const imported = built.flatMap((file) => {
      const text = readFileSync(path.join(unpacked, 'package', file), 'utf8');
      return [...text.matchAll(/^(?:import|export)\b[^'"`;]*\bfrom\s*['"]([^'"]+)['"]/gm)].map((match) => match[1]!);
    });
    const packages = imported
      .filter((specifier) => !/^(\.|node:)/.test(specifier))
      .map((specifier) =>
        specifier
          .split('/')
          .slice(0, specifier.startsWith('@') ? 2 : 1)
          .join('/'),
      );
    expect([...new Set(packages)].filter((each) => !declared.has(each) && !isBuiltin(each))).toEqual([]);
  });

  // Two copies of tfjs are two tensor registries, two copies of core are two sets of contracts: a plugin brings neither.
  test('core and tfjs are peers of a plugin', () => {
    const { name, dependencies = {}, peerDependencies = {} } = packedManifest();
    if (name === '@lft/cli') return;
    expect(dependencies).not.toHaveProperty(['@tensorflow/tfjs-core']);
    expect(dependencies).not.toHaveProperty(['@lft/core']);
    if (name === '@lft/core') expect(peerDependencies).toHaveProperty(['@tensorflow/tfjs-core']);
    else expect(peerDependencies).toHaveProperty(['@lft/core']);
  });
});
