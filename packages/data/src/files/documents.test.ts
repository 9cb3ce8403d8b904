import { caught } from '../__fixtures__/caught.js';
import { temporaryFolder } from '../__fixtures__/temporary-folder.js';
import { readDocuments } from './documents.js';

const folder = temporaryFolder();

test('a file without the separator is one document, byte for byte', async () => {
  const path = folder.write('one.txt', '\none\n\ntwo\n');
  expect(await readDocuments(path, '<|endoftext|>')).toEqual([{ where: `${path}:1`, text: '\none\n\ntwo\n' }]);
});

test('documents stand between separators, without the newlines next to them, and know their line', async () => {
  const path = folder.write('two.txt', 'one\nmore\n<|endoftext|>\n\ntwo\n<|endoftext|>\n');
  expect(await readDocuments(path, '<|endoftext|>')).toEqual([
    { where: `${path}:1`, text: 'one\nmore' },
    { where: `${path}:5`, text: 'two' },
  ]);
});

test('blank lines can divide documents', async () => {
  const documents = await readDocuments(folder.write('blank.txt', 'one\n\n\n\ntwo\n\nthree'), '\n\n');
  expect(documents.map(({ text, where }) => [text, where.split(':').at(-1)])).toEqual([
    ['one', '1'],
    ['two', '5'],
    ['three', '7'],
  ]);
});

test('the text fields of JSONL are documents', async () => {
  const path = folder.writeRows('a.jsonl', [{ text: 'one' }, { text: 'two', source: 'x' }]);
  expect((await readDocuments(path, '-')).map(({ text }) => text)).toEqual(['one', 'two']);
});

test('a row without text is an error that names its fields', async () => {
  const path = folder.writeRows('b.jsonl', [{ body: 'one', id: 1 }]);
  expect((await caught(() => readDocuments(path, '-'))).message).toBe(
    `${path}:1: needs a field "text"; the row has body, id`,
  );
});

test('a file of blanks is an error', async () => {
  expect((await caught(() => readDocuments(folder.write('blank2.txt', ' \n'), '-'))).code).toBe('data-empty');
});
