import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Example, IGNORED_LABEL } from '@lft/core';
import { caught } from './__fixtures__/caught.js';
import { storiesModel as model } from './__fixtures__/stories-model.js';
import { temporaryFolder } from './__fixtures__/temporary-folder.js';
import { type InstructionsOptions, instructions } from './instructions.js';
import { alpacaPrompt } from './templates/alpaca.js';
import { loadTokenizer } from './tokenizer.js';

const folder = temporaryFolder();
const rows = Array.from({ length: 20 }, (_, i) => ({ instruction: `Say ${i}.`, output: `The cat said ${i}!` }));
const path = folder.writeRows('rows.jsonl', rows);
const prepare = (options: InstructionsOptions = {}, file = path, maxLength = 512, seed = 1) =>
  instructions(file, options).prepare({ model, maxLength, seed });
const learnedIds = ({ labels }: Example) => [...labels].filter((label) => label !== IGNORED_LABEL);
const key = ({ ids }: Example) => ids.join(' ');

test('the learned span is exactly the response and the end-of-sequence token', async () => {
  const tokenizer = await loadTokenizer(model.source);
  const { train, validation } = await prepare();
  const spans = [...train, ...validation].map((example) => tokenizer.decode(learnedIds(example)));
  expect(spans.sort()).toEqual(rows.map(({ output }) => `${output}</s>`).sort());
});

test('labels are the ids where they are not ignored', async () => {
  for (const { ids, labels } of (await prepare()).train) {
    expect(labels.every((label, i) => label === IGNORED_LABEL || label === ids[i])).toBe(true);
  }
});

test('the ids before the response are those of the prompt at generation', async () => {
  const tokenizer = await loadTokenizer(model.source);
  const file = folder.writeRows('one.jsonl', [{ instruction: 'Say hi.', output: '"Hi!" it said' }]);
  const [example] = (await prepare({}, file)).train;
  const prompt = tokenizer.encode(alpacaPrompt({ instruction: 'Say hi.' }));
  expect([...(example?.ids ?? [])].slice(0, prompt.length)).toEqual(prompt);
  expect(example?.labels[prompt.length - 1]).toBe(IGNORED_LABEL);
  expect(example?.labels[prompt.length]).toBe(example?.ids[prompt.length]);
});

test("lossOn 'all' learns every token but the first", async () => {
  const [example] = (await prepare({ lossOn: 'all' })).train;
  expect(learnedIds(example!)).toEqual([...example!.ids].slice(1));
});

test('the split is reproducible, disjoint and complete', async () => {
  const first = await prepare({ validation: 0.2 });
  const again = await prepare({ validation: 0.2 });
  expect(again).toEqual(first);
  expect(first.validation).toHaveLength(4);
  expect(new Set([...first.train, ...first.validation].map(key)).size).toBe(20);
  expect((await prepare({ validation: 0.2 }, path, 512, 2)).validation.map(key)).not.toEqual(first.validation.map(key));
});

test('validation may be a file', async () => {
  const other = folder.writeRows('held.jsonl', rows.slice(0, 3));
  const { train, validation, description } = await prepare({ validation: other });
  expect([train.length, validation.length]).toEqual([20, 3]);
  expect(description).toContain('20 rows of rows.jsonl, template alpaca; 3 of held.jsonl for validation');
});

test('limit takes rows from the top', async () => {
  expect((await prepare({ limit: 3, validation: 0 })).train).toHaveLength(3);
});

test('packing keeps the learned tokens', async () => {
  const loose = await prepare({ validation: 0 });
  const packed = await prepare({ validation: 0, packing: true });
  const count = (examples: readonly Example[]) =>
    examples.reduce((sum, example) => sum + learnedIds(example).length, 0);
  expect(packed.train.length).toBeLessThan(loose.train.length);
  expect(count(packed.train)).toBe(count(loose.train));
});

test('the fingerprint follows rows, options, seed and length, and not where the file lies', async () => {
  const { fingerprint } = await prepare();
  const copy = folder.writeRows('copy.jsonl', rows);
  expect((await prepare({}, copy)).fingerprint).toBe(fingerprint);
  const others = await Promise.all([
    prepare({}, folder.writeRows('changed.jsonl', rows.slice(1))),
    prepare({ lossOn: 'all' }),
    prepare({ template: 'plain' }),
    prepare({}, path, 511),
    prepare({}, path, 512, 2),
  ]);
  expect(new Set([fingerprint, ...others.map((other) => other.fingerprint)]).size).toBe(6);
});

test('options are recorded as JSON with their defaults', () => {
  expect(instructions('a.jsonl').options).toEqual({
    source: 'instructions',
    path: 'a.jsonl',
    template: 'alpaca',
    lossOn: 'response',
    validation: 0.05,
    packing: false,
    tooLong: 'error',
  });
});

test('a row longer than maxLength is an error with its place, its length and the remedies', async () => {
  const file = folder.writeRows('long.jsonl', [rows[0], { instruction: 'Go on.', output: 'on and '.repeat(120) }]);
  const error = await caught(() => prepare({}, file, 256));
  expect(error).toMatchObject({ code: 'example-too-long', facts: { where: `${file}:2`, tooLong: 1, examples: 2 } });
  expect(error.message).toMatch(
    /long\.jsonl:2: \d+ tokens are more than maxLength 256; 1 of 2 examples are too long, .* raise maxLength \(the model's context is 512\), or set tooLong: 'truncate'/,
  );
});

test('tooLong can leave rows out or cut them, and the description says so', async () => {
  const file = folder.writeRows('long2.jsonl', [rows[0], { instruction: 'Go on.', output: 'on and '.repeat(120) }]);
  const skipped = await prepare({ tooLong: 'skip', validation: 0 }, file, 256);
  expect(skipped.train).toHaveLength(1);
  expect(skipped.description).toContain('1 too long and left out');
  const cut = await prepare({ tooLong: 'truncate', validation: 0 }, file, 256);
  expect(
    cut.train
      .map(({ ids }) => ids.length)
      .sort((a, b) => a - b)
      .at(-1),
  ).toBe(256);
  expect(cut.description).toContain('1 truncated');
});

test('truncation that takes every response is an error that says so', async () => {
  const error = await caught(() => prepare({ tooLong: 'truncate' }, path, 32));
  expect(error.code).toBe('labels-masked');
  expect(error.message).toContain('truncation cut off every response; raise maxLength');
});

test('rows that are all too long to keep are an error', async () => {
  expect((await caught(() => prepare({ tooLong: 'skip' }, path, 32))).code).toBe('data-empty');
});

test('a tokenizer with more tokens than the model is an error', async () => {
  const error = await caught(() =>
    instructions(path).prepare({ model: { ...model, vocabularySize: 500 }, maxLength: 512, seed: 1 }),
  );
  expect(error.code).toBe('vocabulary-mismatch');
});

test('chat rows through a template of the options', async () => {
  const tokenizer = await loadTokenizer(model.source);
  const chatTemplate = readFileSync(join(__dirname, '__fixtures__/chatml.jinja'), 'utf8').trimEnd();
  const messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello there!' },
    { role: 'user', content: 'Bye' },
    { role: 'assistant', content: 'So long.' },
  ];
  const file = folder.writeRows('chat.jsonl', [{ messages }]);
  const [example] = (await prepare({ template: 'chat', chatTemplate }, file)).train;
  expect(tokenizer.decode(learnedIds(example!))).toBe('Hello there!</s>So long.</s>');
  expect(example!.ids.filter((id) => id === tokenizer.bosTokenId)).toHaveLength(5);
});

test('a chat without a template is an error', async () => {
  expect((await caught(() => prepare({ template: 'chat' }))).message).toContain('has no chat template');
});

test.each([
  [
    { template: 'alpacca' },
    "template: must be 'alpaca', 'plain', 'chat' or a function, not \"alpacca\"; did you mean 'alpaca'?",
  ],
  [{ validation: 1 }, 'validation: must be a share'],
  [{ lossOff: 'all' }, 'did you mean "lossOn"?'],
  [{ chatTemplate: 'x' }, "chatTemplate: belongs to template: 'chat'"],
])('options %j are refused at once', async (options, message) => {
  const error = await caught(() => instructions(path, options as InstructionsOptions));
  expect(error.code).toBe('options-invalid');
  expect(error.message).toContain(message);
});
