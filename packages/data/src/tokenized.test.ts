import { IGNORED_LABEL } from '@lft/core';
import { caught } from './__fixtures__/caught.js';
import { storiesModel as model } from './__fixtures__/stories-model.js';
import { type TokenizedExample, tokenized } from './tokenized.js';

const prepare = (examples: TokenizedExample[], validation: TokenizedExample[] = []) =>
  tokenized(examples, { validation }).prepare({ model, maxLength: 4, seed: 1 });

test('examples keep their order, and labels default to the ids but the first of each document', async () => {
  const { train, validation } = await prepare(
    [{ ids: [1, 2] }, { ids: [3, 4, 5, 6], segments: [0, 0, 1, 1] }],
    [{ ids: [7, 8] }],
  );
  expect(train.map(({ labels }) => [...labels])).toEqual([
    [IGNORED_LABEL, 2],
    [IGNORED_LABEL, 4, IGNORED_LABEL, 6],
  ]);
  expect([...validation[0]!.ids]).toEqual([7, 8]);
});

test.each([
  ['no examples', [], 'data-empty'],
  ['no ids', [{ ids: [] }], 'data-invalid'],
  ['labels of another length', [{ ids: [1, 2], labels: [1] }], 'data-invalid'],
  ['a fraction', [{ ids: [1, 2.5] }], 'data-invalid'],
  ['an id that the model lacks', [{ ids: [1, 512] }], 'vocabulary-mismatch'],
  ['a long example', [{ ids: [1, 2, 3, 4, 5] }], 'example-too-long'],
  ['nothing to learn', [{ ids: [1, 2], labels: [-100, -100] }], 'labels-masked'],
])('%s is an error', async (_, examples, code) => {
  expect((await caught(() => prepare(examples))).code).toBe(code);
});
