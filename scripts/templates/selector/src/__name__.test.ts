import type { SelectorContext } from '@lft/core';
import { describeSelector } from '@lft/testing';
import { __camel__ } from './__name__.js';

describeSelector('__name__', () => __camel__({ active: 2 }));

const context = { units: [{ id: 'a' }, { id: 'b' }, { id: 'c' }] } as unknown as SelectorContext;

test('units train in turn', () => {
  const selector = __camel__({ active: 2 });
  selector.setup(context);
  expect([0, 1, 2].map((step) => [...selector.select(step)])).toEqual([
    ['a', 'b'],
    ['c', 'a'],
    ['b', 'c'],
  ]);
});

test('more active units than there are is an error that says how many there are', () => {
  expect(() => __camel__({ active: 4 }).setup(context)).toThrow('Set active to at most 3');
});
