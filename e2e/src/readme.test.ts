import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { succeed } from './command.js';
import { javascript } from './program.js';
import { packagesIn, publishable, repository, temporaryFolder } from './repository.js';
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

/** A folder that looks to a program like the repository's root with everything installed, and takes what it writes. */
function lookalike(): string {
  const folder = temporaryFolder();
  const link = (target: string, place: string) => {
    if (!existsSync(target)) return;
    mkdirSync(path.dirname(path.join(folder, place)), { recursive: true });
    symlinkSync(target, path.join(folder, place));
  };
  for (const entry of ['models', 'data', 'fixtures', 'packages', 'examples', 'docs', 'README.md']) {
    link(path.join(repository, entry), entry);
  }
  for (const { folder: target, manifest } of [...packagesIn('packages'), ...packagesIn('examples')]) {
    link(target, `node_modules/${manifest.name}`);
  }
  for (const each of ['@tensorflow/tfjs-core', 'zod']) {
    link(path.join(__dirname, '../node_modules', each), `node_modules/${each}`);
  }
  return folder;
}

test.each(snippets)('$where runs as printed', ({ fence }) => {
  const folder = lookalike();
  writeFileSync(path.join(folder, 'program.mjs'), javascript(fence.text, 'esm'));
  succeed(process.execPath, ['program.mjs'], folder);
});

// The command line and the test kit are not called from a program; a backend needs what may not be here.
const called = publishable.filter((folder) => !['cli', 'testing'].includes(folder) && !folder.startsWith('backend-'));

test.each(called)('the README of %s shows a program', (folder) => {
  expect(snippets.map(({ where }) => where.replace(/:\d+$/, ''))).toContain(`packages/${folder}/README.md`);
});
