import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { loadLora } from './index.js';

test("the README's snippet runs, learns, and saves a folder that can be read", async () => {
  const readme = readFileSync(path.join(__dirname, '../README.md'), 'utf8');
  const snippet = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? '';
  const statement = /import (\{.*?\}) from '(.*?)';/g;
  const modules: Record<string, unknown> = {};
  for (const [, , name] of snippet.matchAll(statement)) modules[name!] = await import(name!);
  const body = snippet.replace(statement, "const $1 = modules['$2'];");

  const lines: string[] = [];
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...values: unknown[]) => Promise<void>;
  const here = process.cwd();
  process.chdir(path.join(__dirname, '../../..'));
  try {
    await new AsyncFunction('modules', 'console', body)(modules, { log: (line: string) => lines.push(line) });
  } finally {
    process.chdir(here);
  }

  const [, first, last, folder] = /^loss (\S+) -> (\S+), saved in (.*)$/.exec(lines[0]!)!;
  expect(Number(last)).toBeLessThan(Number(first));
  expect(existsSync(path.join(folder!, 'adapter_model.safetensors'))).toBe(true);
  expect((await loadLora(folder!)).name).toBe('lora');
  await rm(folder!, { recursive: true });
});
