import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { command, succeed } from './command.js';
import { javascript } from './program.js';
import { readManifest, repository, temporaryFolder } from './repository.js';
import { fences, isRunnable } from './snippets.js';

/** Copies what git would hand to someone who clones: tracked files, and new ones that it does not ignore. */
function cloned(): string {
  const folder = temporaryFolder();
  const files = succeed('git', ['ls-files', '--cached', '--others', '--exclude-standard'], repository)
    .trim()
    .split('\n');
  for (const file of files) {
    if (existsSync(path.join(repository, file))) cpSync(path.join(repository, file), path.join(folder, file));
  }
  return folder;
}

describe('a fresh clone, with Node and npm only', () => {
  const clone = cloned();
  const env = {
    // No tool of this workspace: pnpm and turbo have to come from the clone itself.
    PATH: process.env
      .PATH!.split(path.delimiter)
      .filter((folder) => !folder.includes('node_modules'))
      .join(path.delimiter),
    // Builds that are done already are not done again.
    TURBO_CACHE_DIR: path.join(repository, '.turbo/cache'),
  };
  const npm = (...args: string[]) => command('npm', args, clone, env);

  test('npm run quickstart trains, and the second time nothing is installed', () => {
    const first = npm('run', 'quickstart');
    expect(first).toMatchObject({ code: 0 });
    expect(first.output).toContain('Installing the dependencies');
    expect(npm('run', 'quickstart', '--', '--help').output).not.toContain('Installing the dependencies');
  });

  test.each([
    ['selector', 'examples', 'throwaway-turns'],
    ['adapter', 'packages', 'throwaway-factors'],
  ])('npm run new makes a package with a %s that builds, passes the kit and trains', (kind, dir, name) => {
    const made = npm('run', 'new', '--', kind, name, '--dir', dir);
    expect(made).toMatchObject({ code: 0 });
    const folder = path.join(clone, dir, name);
    const packageName = readManifest(path.join(folder, 'package.json')).name;
    const turbo = (...tasks: string[]) =>
      succeed(process.execPath, ['scripts/turbo.mjs', 'run', ...tasks, `--filter=${packageName}`], clone, env);
    turbo('build', 'typecheck', 'test');
    const results = JSON.parse(readFileSync(path.join(folder, 'test-results.json'), 'utf8')) as Record<string, number>;
    expect(results.numFailedTests).toBe(0);
    expect(results.numPassedTests).toBeGreaterThan(3);
    succeed('npx', ['biome', 'check', folder], clone, env);

    const program = fences(readFileSync(path.join(folder, 'README.md'), 'utf8')).find(isRunnable)!;
    writeFileSync(path.join(folder, 'train.mjs'), javascript(program.text, 'esm'));
    succeed(process.execPath, [path.join(folder, 'train.mjs')], clone);
  });

  test.each([
    [['selector', 'Bad Name'], 'is no name for a package'],
    [['selector', 'layer-selector'], 'is taken'],
    [['adapter', 'core'], 'packages/core exists'],
    [['optimizer', 'fast'], 'there is a template for a selector and one for an adapter'],
    [['adapter', 'fast', '--dir', 'src'], 'packages live in packages or examples'],
  ])('npm run new -- %j says what is wrong', (args, message) => {
    const { code, output } = npm('run', 'new', '--', ...args);
    expect(code).toBe(1);
    expect(output).toContain(message);
  });
});
