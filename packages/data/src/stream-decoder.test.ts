import { storiesModel } from './__fixtures__/stories-model.js';
import { streamDecoder } from './stream-decoder.js';
import { loadTokenizer } from './tokenizer.js';

const story = 'Once upon a time, a naïve cat 😀 said: 日本\n\n "Hi!"  Bye';

test('the pieces joined are the text, and each is whole characters', async () => {
  const tokenizer = await loadTokenizer(storiesModel.source);
  const decoder = streamDecoder(tokenizer);
  const pieces = tokenizer.encode(story).map((id) => decoder.push(id));
  expect([...pieces, decoder.flush()].join('')).toBe(story);
  expect(pieces.some((piece) => piece.includes('\ufffd'))).toBe(false);
});

test('after a prompt the first piece keeps its leading blank', async () => {
  const tokenizer = await loadTokenizer(storiesModel.source);
  const ids = tokenizer.encode(story);
  const decoder = streamDecoder(tokenizer, ids.slice(0, 3));
  const rest = ids.slice(3).map((id) => decoder.push(id));
  const prompt = tokenizer.decode(ids.slice(0, 3), { skipSpecialTokens: true });
  expect(prompt + rest.join('')).toBe(story);
});

test('a character that never becomes whole is given at the end', async () => {
  const tokenizer = await loadTokenizer(storiesModel.source);
  const decoder = streamDecoder(tokenizer);
  const bytes = tokenizer.encodeContinuation('😀').slice(0, 2);
  expect(bytes.map((id) => decoder.push(id))).toEqual(['', '']);
  expect(decoder.flush()).toMatch(/^\ufffd+$/);
});

test('special tokens are not shown', async () => {
  const tokenizer = await loadTokenizer(storiesModel.source);
  const decoder = streamDecoder(tokenizer);
  expect([1, ...tokenizer.encodeContinuation('cat'), 2].map((id) => decoder.push(id)).join('')).toBe('cat');
});
