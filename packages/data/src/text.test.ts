import { type Example, IGNORED_LABEL } from '@lft/core';
import { caught } from './__fixtures__/caught.js';
import { storiesModel as model } from './__fixtures__/stories-model.js';
import { temporaryFolder } from './__fixtures__/temporary-folder.js';
import { type TextOptions, text } from './text.js';
import { loadTokenizer } from './tokenizer.js';

const folder = temporaryFolder();
const stories = Array.from({ length: 12 }, (_, i) => `Once upon a time there were ${i} cats.\nThey were happy.`);
const path = folder.write('stories.txt', `${stories.join('\n<|endoftext|>\n')}\n`);
const prepare = (options: TextOptions = {}, file = path, maxLength = 32, seed = 1) =>
  text(file, options).prepare({ model, maxLength, seed });
const stream = (examples: readonly Example[]) => examples.flatMap(({ ids }) => [...ids]);

/** Ids of documents as a model reads them. */
async function ids(documents: readonly string[]): Promise<number[]> {
  const tokenizer = await loadTokenizer(model.source);
  return documents.flatMap((document) => [...tokenizer.encode(document), 2]);
}

test('windows laid end to end are the documents, each with its BOS and EOS', async () => {
  const { train } = await prepare({ validation: 0 });
  expect(stream(train)).toEqual(await ids(stories));
  expect(train.slice(0, -1).every((window) => window.ids.length === 32)).toBe(true);
});

test('every token of a window but the first is learned', async () => {
  for (const { ids, labels } of (await prepare()).train) expect([...labels]).toEqual([IGNORED_LABEL, ...ids.slice(1)]);
});

test('the tail is held out and no window crosses the split', async () => {
  const { train, validation } = await prepare({ validation: 0.25 });
  expect([...stream(train), ...stream(validation)]).toEqual(await ids(stories));
  expect(stream(validation)).toEqual(await ids(stories.slice(-3)));
});

test('the tail of a single document is held out', async () => {
  const file = folder.write('single.txt', stories.join('\n'));
  const { train, validation } = await prepare({ validation: 0.1 }, file);
  expect(stream(train).length / stream(validation).length).toBeCloseTo(9, 0);
  expect([...stream(train), ...stream(validation)]).toEqual(await ids([stories.join('\n')]));
});

test('validation may be a file', async () => {
  const { train, validation } = await prepare({ validation: folder.write('held.txt', 'The end.') });
  expect(stream(train)).toEqual(await ids(stories));
  expect(stream(validation)).toEqual(await ids(['The end.']));
});

test('documents packed into rows stay whole and apart', async () => {
  const { train } = await prepare({ packing: 'documents', validation: 0 }, path, 128);
  expect(train.length).toBeLessThan(stories.length);
  expect(train.flatMap(({ segments }) => [...new Set(segments)])).toHaveLength(stories.length);
});

test('a document a row', async () => {
  const { train, validation } = await prepare({ packing: 'none', validation: 0.25 }, path, 128);
  expect([train.length, validation.length]).toEqual([9, 3]);
  expect(stream([...train, ...validation])).toEqual(await ids(stories));
});

test('a document too long for a row of its own is an error with its line', async () => {
  const error = await caught(() => prepare({ packing: 'none' }, path, 16));
  expect(error).toMatchObject({ code: 'example-too-long', facts: { where: `${path}:1` } });
});

test('text of JSONL rows', async () => {
  const file = folder.writeRows(
    'stories.jsonl',
    stories.map((story) => ({ text: story })),
  );
  expect(stream((await prepare({ validation: 0 }, file)).train)).toEqual(await ids(stories));
});

test('the fingerprint follows text, options and length', async () => {
  const { fingerprint } = await prepare();
  expect((await prepare()).fingerprint).toBe(fingerprint);
  const others = [await prepare({ validation: 0.5 }), await prepare({}, path, 31), await prepare({ limit: 5 })];
  expect(new Set([fingerprint, ...others.map((other) => other.fingerprint)]).size).toBe(4);
});

test('the description counts documents, windows and tokens', async () => {
  expect((await prepare()).description).toMatch(
    /^12 documents of stories\.txt; \d+ windows of up to 32 tokens \(\d+ tokens\); \d+ for validation/,
  );
});

test('an unknown option is refused at once', async () => {
  expect((await caught(() => text(path, { seperator: 'x' } as TextOptions))).message).toContain(
    'did you mean "separator"?',
  );
});
