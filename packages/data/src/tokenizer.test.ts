import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { caught } from './__fixtures__/caught.js';
import { storiesModel } from './__fixtures__/stories-model.js';
import { temporaryFolder } from './__fixtures__/temporary-folder.js';
import { loadTokenizer } from './tokenizer.js';

const folder = temporaryFolder();
const recorded: { text: string; ids: number[]; plain: number[]; decoded: string }[] = JSON.parse(
  readFileSync(join(__dirname, '__fixtures__/recorded-ids.json'), 'utf8'),
);

/** A copy of the fixture with one file replaced, or removed. */
function altered(name: string, content?: string): string {
  const copy = join(folder.path, `${name}-${Math.abs(content?.length ?? 0)}`);
  cpSync(storiesModel.source, copy, { recursive: true });
  if (content === undefined) rmSync(join(copy, name));
  else writeFileSync(join(copy, name), content);
  return copy;
}

test("ids are those of Python's tokenizers", async () => {
  const tokenizer = await loadTokenizer(storiesModel.source);
  for (const { text, ids, plain } of recorded) {
    expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids });
    expect({ text, ids: tokenizer.encode(text, { addSpecialTokens: false }) }).toEqual({ text, ids: plain });
  }
});

test("decoded text is that of Python's tokenizers", async () => {
  const tokenizer = await loadTokenizer(storiesModel.source);
  for (const { ids, decoded } of recorded) expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decoded);
});

test('special tokens come from the folder', async () => {
  const tokenizer = await loadTokenizer(storiesModel.source);
  expect(tokenizer).toMatchObject({
    vocabularySize: 512,
    bosTokenId: 1,
    eosTokenId: 2,
    padTokenId: undefined,
    stopTokenIds: [2],
    startIds: [1],
    specialTokens: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
    specialTexts: ['<unk>', '<s>', '</s>'],
    chatTemplate: undefined,
  });
});

test('a continuation decodes to exactly its text after what came before', async () => {
  const tokenizer = await loadTokenizer(storiesModel.source);
  const prompt = tokenizer.encode('### Response:');
  for (const text of ['Yes', ' Yes', '\nYes', '  two', 'é 😀', '']) {
    const ids = [...prompt, ...tokenizer.encodeContinuation(text)];
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(`### Response:${text}`);
  }
});

test('the fingerprint follows the files', async () => {
  const { fingerprint } = await loadTokenizer(storiesModel.source);
  expect((await loadTokenizer(altered('tokenizer_config.json', '{"bos_token": "<s>"}'))).fingerprint).not.toBe(
    fingerprint,
  );
  expect((await loadTokenizer(storiesModel.source)).fingerprint).toBe(fingerprint);
});

test('chat_template.jinja wins over tokenizer_config.json', async () => {
  const copy = altered(
    'tokenizer_config.json',
    JSON.stringify({ chat_template: [{ name: 'default', template: 'a' }] }),
  );
  expect((await loadTokenizer(copy)).chatTemplate).toBe('a');
  writeFileSync(join(copy, 'chat_template.jinja'), 'b');
  expect((await loadTokenizer(copy)).chatTemplate).toBe('b');
});

test('a missing tokenizer.json is an error that says what to copy', async () => {
  const error = await caught(() => loadTokenizer(altered('tokenizer.json')));
  expect(error.code).toBe('file-missing');
  expect(error.message).toMatch(/has no tokenizer\.json; copy tokenizer\.json and tokenizer_config\.json/);
});

test('a folder that is not there is an error', async () => {
  expect((await caught(() => loadTokenizer('no/such'))).message).toBe(
    'there is no folder no/such to read a tokenizer from',
  );
});

test.each([
  ['broken JSON', '{"model":'],
  ['no model', '{"version": "1.0"}'],
  ['a model of an unknown kind', '{"model": {"type": "Magic", "vocab": 3}}'],
])('%s in tokenizer.json is an error', async (_, content) => {
  expect((await caught(() => loadTokenizer(altered('tokenizer.json', content)))).code).toBe('tokenizer-invalid');
});

test('a special token outside of the vocabulary is an error', async () => {
  const error = await caught(() => loadTokenizer(altered('tokenizer_config.json', '{"eos_token": "<|nope|>"}')));
  expect(error.message).toContain('eos_token "<|nope|>" is not in the vocabulary');
});
