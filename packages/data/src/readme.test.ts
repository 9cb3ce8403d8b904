import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import * as core from '@lft/core';
import { temporaryFolder } from './__fixtures__/temporary-folder.js';
import * as data from './index.js';

const folder = temporaryFolder();

test("the README's first snippet runs and prints what it says", async () => {
  const readme = readFileSync(join(__dirname, '../README.md'), 'utf8');
  const snippet = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? '';
  const printed = /```text\n(.*?)```/s.exec(readme)?.[1];
  const body = snippet.replace(/import (\{.*?\}) from '@lft\/(\w+)';/gs, 'const $1 = packages.$2;');
  mkdirSync(join(folder.path, 'models'));
  symlinkSync(join(__dirname, '../../../models/stories260K'), join(folder.path, 'models/stories260K'));
  const rows = Array.from({ length: 10 }, (_, i) => ({ instruction: `Name ${i} cats.`, output: 'Tom, and so on.' }));
  folder.writeRows('alpaca.jsonl', rows);

  const lines: string[] = [];
  const here = process.cwd();
  process.chdir(folder.path);
  try {
    const AsyncFunction = (async () => {}).constructor as new (
      ...parts: string[]
    ) => (...values: unknown[]) => Promise<void>;
    await new AsyncFunction('packages', 'console', body)(
      { core, data },
      { log: (...values: unknown[]) => lines.push(values.join(' ')) },
    );
  } finally {
    process.chdir(here);
  }
  expect(`${lines.join('\n')}\n`).toBe(printed);
});
