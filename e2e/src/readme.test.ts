import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { succeed } from './command.js';
import { javascript } from './program.js';
import { publishable, repository, temporaryFolder } from './repository.js';
import { type Fence, fences, isRunnable } from './snippets.js';

const docs = existsSync(path.join(repository, 'docs'))
  ? readdirSync(path.join(repository, 'docs'), { recursive: true }).map((file) => path.join('docs', String(file)))
  : [];
const files = ['README.md', ...publishable.map((folder) => `packages/${folder}/README.md`), ...docs].filter(
  (file) => file.endsWith('.md') && existsSync(path.join(repository, file)),
);

// The program of the root README is run by install.test.ts, where the packages are installed as people install them.
const isInstalled = (fence: Fence) => fence.info.includes('title="finetune.ts"');

const snippets = files.flatMap((file) =>
  fences(readFileSync(path.join(repository, file), 'utf8'))
    .filter((fence) => isRunnable(fence) && !isInstalled(fence))
    .map((fence) => ({ where: `${file}:${fence.line}`, fence })),
);

// Beside this package's node_modules, where every package of the workspace is linked.
const programs = path.join(__dirname, '../.cache/snippets');

/** A folder that looks like the repository's root to a program, and takes what it writes. */
function lookalike(): string {
  const folder = temporaryFolder();
  for (const entry of ['models', 'data', 'fixtures', 'packages', 'examples', 'docs', 'README.md']) {
    const target = path.join(repository, entry);
    if (existsSync(target)) symlinkSync(target, path.join(folder, entry));
  }
  return folder;
}

beforeAll(() => {
  rmSync(programs, { recursive: true, force: true });
  mkdirSync(programs, { recursive: true });
});

test.each(snippets)('$where runs as printed', ({ where, fence }) => {
  const program = path.join(programs, `${where.replace(/\W+/g, '-')}.mjs`);
  writeFileSync(program, javascript(fence.text, 'esm'));
  succeed(process.execPath, [program], lookalike());
});

// The command line and the test kit are not called from a program.
const called = publishable.filter((folder) => !['cli', 'testing'].includes(folder));

test.each(called)('the README of %s shows a program', (folder) => {
  expect(snippets.map(({ where }) => where.replace(/:\d+$/, ''))).toContain(`packages/${folder}/README.md`);
});
