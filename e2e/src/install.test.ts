import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { succeed } from './command.js';
import { pack } from './pack.js';
import { javascript, withoutTopLevelAwait } from './program.js';
import { repository, temporaryFolder } from './repository.js';
import { fences } from './snippets.js';

const readme = readFileSync(path.join(repository, 'README.md'), 'utf8');
const program = fences(readme).find((fence) => fence.info === 'ts title="finetune.ts"')?.text ?? '';

const tsc = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin/tsc');

describe('the program of the README, in an empty folder with the packed packages', () => {
  const folder = temporaryFolder();
  const write = (file: string, text: string) => writeFileSync(path.join(folder, file), text);

  beforeAll(() => {
    const tarballs = ['core', 'data', 'ist', 'lora'].map(pack);
    const nodeTypes = require('@types/node/package.json') as { version: string };
    write('package.json', '{ "name": "somebody", "private": true }\n');
    succeed(
      'npm',
      ['install', '--prefer-offline', '--no-audit', '--no-fund', ...tarballs, `@types/node@${nodeTypes.version}`],
      folder,
    );
    for (const entry of ['models', 'data'])
      cpSync(path.join(repository, entry), path.join(folder, entry), { recursive: true });
    write('finetune.mts', program);
    write('finetune.cts', withoutTopLevelAwait(program));
    write('finetune.mjs', javascript(program, 'esm'));
    write('finetune.cjs', javascript(withoutTopLevelAwait(program), 'cjs'));
  });

  test('is there', () => {
    expect(program).toContain('@lft/ist');
  });

  test('npm installs one copy of core and one of tfjs', () => {
    const listed = succeed('npm', ['ls', '--all', '--parseable', '@lft/core', '@tensorflow/tfjs-core'], folder);
    expect(
      listed
        .trim()
        .split('\n')
        .map((line) => path.relative(folder, line))
        .sort(),
    ).toEqual(['node_modules/@lft/core', 'node_modules/@tensorflow/tfjs-core']);
  });

  test('runs as an ES module', () => {
    succeed(process.execPath, ['finetune.mjs'], folder);
  });

  test('runs as CommonJS', () => {
    succeed(process.execPath, ['finetune.cjs'], folder);
  });

  test.each(['finetune.mts', 'finetune.cts'])('%s passes the type checker', (file) => {
    const options = [
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2022',
      '--skipLibCheck',
      '--types',
      'node',
    ];
    succeed(process.execPath, [tsc, ...options, file], folder);
  });
});
