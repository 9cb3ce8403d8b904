import { type Example, IGNORED_LABEL } from '@lft/core';
import { pack } from './packing.js';

const lengths = [5, 3, 9, 2, 2, 10, 1, 7, 4, 6];
let next = 0;
const examples: Example[] = lengths.map((length) => {
  const ids = Int32Array.from({ length }, () => next++);
  return { ids, labels: ids.slice() };
});
const rows = pack(examples, 10);

/** The documents of packed rows, by their segments. */
const documents = rows.flatMap(({ ids, segments }) =>
  [...new Set(segments)].map((segment) => [...ids.filter((_, i) => segments?.[i] === segment)]),
);

test('no token is lost, none comes twice, and documents stay whole', () => {
  const sorted = documents.sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
  expect(sorted).toEqual(examples.map(({ ids }) => [...ids]));
});

test('no row is longer than asked', () => {
  expect(Math.max(...rows.map(({ ids }) => ids.length))).toBeLessThanOrEqual(10);
});

test('segments count from 0 without a gap', () => {
  for (const { segments } of rows) {
    const steps = Array.from(segments ?? [], (segment, i) => segment - (segments?.[i - 1] ?? 0));
    expect(steps.every((step, i) => step === 0 || (step === 1 && i > 0))).toBe(true);
  }
});

test('the first label of each document is ignored, the others are kept', () => {
  for (const { ids, labels, segments } of rows) {
    labels.forEach((label, i) => {
      const first = segments?.[i] !== segments?.[i - 1];
      expect(label).toBe(first ? IGNORED_LABEL : ids[i]);
    });
  }
});

test('each goes into the first row with room', () => {
  expect(rows.map(({ ids }) => ids.length)).toEqual([10, 10, 9, 10, 10]);
});
