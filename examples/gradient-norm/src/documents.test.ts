import { readFileSync } from 'node:fs';
import path from 'node:path';

const here = path.join(__dirname, '..');
const root = path.join(here, '../..');
const read = (...parts: string[]) => readFileSync(path.join(...parts), 'utf8');

/** The fenced blocks of a document that name the file they are part of: ```ts ignore title="src/index.ts" */
function quotes(document: string): { title: string; text: string }[] {
  return [...document.matchAll(/^```\w+ [^\n]*title="([^"]+)"[^\n]*\n(.*?)^```$/gms)].map(([, title, text]) => ({
    title: title!,
    text: text!,
  }));
}

const selectorQuotes = quotes(read(root, 'docs/add-a-selector.md'));

test.each(selectorQuotes)('what docs/add-a-selector.md shows of $title stands there verbatim', ({ title, text }) => {
  expect(read(here, title)).toContain(text);
});

test('docs/add-a-selector.md shows the whole selector, in its order', () => {
  const parts = selectorQuotes.filter(({ title }) => title === 'src/gradient-norm.ts').map(({ text }) => text);
  expect(parts.join('\n')).toBe(read(here, 'src/gradient-norm.ts'));
});

/** A file of the adapter template as `npm run new -- adapter channel-scale` fills it in. */
const scaffold = (file: string) =>
  read(root, 'scripts/templates/adapter', file)
    .replaceAll('__package__', '@lft/channel-scale')
    .replaceAll('__name__', 'channel-scale')
    .replaceAll('__camel__', 'channelScale')
    .replaceAll('__Pascal__', 'ChannelScale');

test.each(quotes(read(root, 'docs/add-an-adapter.md')))(
  'what docs/add-an-adapter.md shows of $title is what the scaffold makes',
  ({ title, text }) => {
    expect(scaffold(title.replace('channel-scale', '__name__'))).toContain(text);
  },
);

test("the README's program runs, trains, and ranks every block", async () => {
  const program = /```ts\n(.*?)```/s.exec(read(here, 'README.md'))?.[1] ?? '';
  const statement = /import (\{.*?\}) from '(.*?)';/g;
  const modules: Record<string, unknown> = {};
  for (const [, , name] of program.matchAll(statement)) {
    modules[name!] = await import(name === 'lft-selector-gradient-norm' ? './index.js' : name!);
  }
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...values: unknown[]) => Promise<void>;
  const printed: ReadonlyMap<string, number>[] = [];
  const console = { log: (scores: ReadonlyMap<string, number>) => printed.push(scores) };
  const before = process.cwd();
  process.chdir(root);
  try {
    const body = program.replace(statement, "const $1 = modules['$2'];");
    await new AsyncFunction('modules', 'console', body)(modules, console);
  } finally {
    process.chdir(before);
  }
  expect(printed[0]?.size).toBe(5);
});
