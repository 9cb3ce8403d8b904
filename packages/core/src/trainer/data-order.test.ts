import { example } from '../__testing__/run-parts.js';
import { DataOrder } from './data-order.js';

const all = Array.from({ length: 7 }, (_, i) => example(i, 4));
const order = (seed = 0, purpose = 'data-order') => new DataOrder(all, seed, purpose);

test('every time round is a permutation, and not the same one', () => {
  const rounds = [0, 1, 2].map((epoch) => order().slice(epoch * 7, 7));
  for (const round of rounds) expect(new Set(round)).toEqual(new Set(all));
  expect(rounds[0]).not.toEqual(rounds[1]);
  expect(rounds[1]).not.toEqual(rounds[2]);
});

test('what comes at an index does not depend on what was asked before', () => {
  const one = order();
  const forwards = Array.from({ length: 21 }, (_, i) => one.at(i));
  const two = order();
  const backwards = Array.from({ length: 21 }, (_, i) => two.at(20 - i)).reverse();
  expect(backwards).toEqual(forwards);
  expect(order().slice(5, 6)).toEqual(forwards.slice(5, 11));
});

test('seed and purpose give orders of their own', () => {
  expect(order(1).slice(0, 7)).not.toEqual(order(0).slice(0, 7));
  expect(order(0, 'probe').slice(0, 7)).not.toEqual(order(0).slice(0, 7));
});
