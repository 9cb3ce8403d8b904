import { heldOut, shuffledSplit, tailCut } from './split.js';

const items = Array.from({ length: 40 }, (_, i) => i);

test('a split is disjoint and complete', () => {
  const { train, validation } = shuffledSplit(items, 0.1, 3);
  expect(validation).toHaveLength(4);
  expect([...train, ...validation].sort((a, b) => a - b)).toEqual(items);
});

test('the same seed gives the same split, another one another', () => {
  expect(shuffledSplit(items, 0.1, 3)).toEqual(shuffledSplit(items, 0.1, 3));
  expect(shuffledSplit(items, 0.1, 3)).not.toEqual(shuffledSplit(items, 0.1, 4));
});

test.each([
  [1, 0.5, 0],
  [10, 0, 0],
  [2, 0.05, 1],
  [3, 0.99, 2],
  [100, 0.05, 5],
])('of %d items the share %d holds out %d', (count, share, held) => {
  expect(heldOut(count, share)).toBe(held);
});

test.each([
  ['one document is cut inside', [1000], 0.1, 900],
  ['a document that starts near the cut is not cut', [500, 420, 80], 0.1, 920],
  ['few large documents are cut inside', [500, 500], 0.1, 900],
  ['nothing is held out', [500, 500], 0, 1000],
])('%s', (_, lengths, share, cut) => {
  expect(tailCut(lengths, share)).toBe(cut);
});
