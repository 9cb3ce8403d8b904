import { type Json, keyedRandom, type Probe, type SelectorContext, type StepEvent, type UnitId } from '@lft/core';
import { describeSelector } from '@lft/testing';
import { type GradientNormOptions, gradientNorm, selector as plugin } from './gradient-norm.js';

describeSelector('gradient-norm by probe', () => gradientNorm({ active: 2, interval: 3, examples: 3 }), {
  leastBlocks: 2,
});

describeSelector('gradient-norm by observation', () => gradientNorm({ measure: 'observe', epsilon: 0.5 }), {
  leastBlocks: 2,
  random: true,
});

const BLOCKS = ['a', 'b', 'c', 'd'];
const context: SelectorContext = {
  units: [...BLOCKS, 'head'].map((id, i) => ({
    id,
    block: id === 'head' ? undefined : i,
    role: id === 'head' ? 'head' : 'block',
    sites: [],
    parameters: [],
    size: 1,
  })),
  blocks: BLOCKS.length,
  steps: 12,
  random: (purpose, ...keys) => keyedRandom(5, purpose, ...keys),
};
const ready = (options: GradientNormOptions) => {
  const selector = gradientNorm(options);
  selector.setup(context);
  return selector;
};

/** A model with these gradient norms; it counts the measurements. */
function measured(norms: readonly number[]) {
  const indices: number[] = [];
  const probe = {
    batch: ({ index }: { index: number }) => {
      indices.push(index);
      return { examples: 1, tokens: 1 };
    },
    gradientNorms: async () => new Map([...BLOCKS.map((id, i) => [id, norms[i]!] as const), ['head', 99]]),
  } as unknown as Probe;
  return { probe, indices };
}
const stepOf = (norms: readonly [UnitId, number][]) => ({ gradientNorms: new Map(norms) }) as unknown as StepEvent;

test('the blocks with the largest norms train, and what lies outside the blocks trains too', async () => {
  const selector = ready({ active: 2 });
  await selector.probe?.(0, measured([1, 4, 2, 3]).probe);
  expect([...selector.select(0)].sort()).toEqual(['b', 'd', 'head']);
});

test('a measurement every interval steps, each on a batch of its own, none after the last step', async () => {
  const selector = ready({ interval: 4 });
  const { probe, indices } = measured([1, 2, 3, 4]);
  for (let step = 0; step <= context.steps; step++) await selector.probe?.(step, probe);
  expect(indices).toEqual([0, 1, 2]);
});

test('by observation every block trains once before any trains twice, and no pass is made', async () => {
  const selector = ready({ active: 1, measure: 'observe', epsilon: 0 });
  const { probe, indices } = measured([0, 0, 0, 0]);
  const order: UnitId[] = [];
  for (let step = 0; step < 4; step++) {
    await selector.probe?.(step, probe);
    const chosen = [...selector.select(step)].find((id) => id !== 'head')!;
    order.push(chosen);
    selector.observe?.(stepOf([[chosen, step]]));
  }
  expect(order.sort()).toEqual(BLOCKS);
  expect(indices).toEqual([]);
});

test('epsilon is the share of places that go to a block outside the top', () => {
  const selector = ready({ active: 1, measure: 'observe', epsilon: 0.25 });
  selector.observe?.(
    stepOf([
      ['a', 9],
      ['b', 1],
      ['c', 1],
      ['d', 1],
    ]),
  );
  let explored = 0;
  for (let step = 0; step < 4000; step++) if (!selector.select(step).has('a')) explored += 1;
  // 4000 draws with probability 1/4: mean 1000, deviation 27; four deviations.
  expect(Math.abs(explored - 1000)).toBeLessThan(110);
});

test('a norm that is not finite leaves the ranking as it is', async () => {
  const selector = ready({});
  await selector.probe?.(0, measured([1, 2, 3, 4]).probe);
  const before = selector.state();
  await selector.probe?.(20, measured([Number.NaN, Number.POSITIVE_INFINITY, 3, 4]).probe);
  expect(selector.state()).toEqual(before);
});

test('importance is the last norm measured, of blocks only', async () => {
  const selector = ready({});
  expect(selector.importance()).toBeUndefined();
  await selector.probe?.(0, measured([1, 4, 2, 3]).probe);
  expect(selector.importance()?.scores).toEqual(
    new Map([
      ['a', 1],
      ['b', 4],
      ['c', 2],
      ['d', 3],
    ]),
  );
});

test('the state is all that it remembers', async () => {
  const before = ready({ active: 2 });
  await before.probe?.(0, measured([1, 4, 2, 3]).probe);
  const after = ready({ active: 2 });
  after.restore(JSON.parse(JSON.stringify(before.state())) as Json);
  expect([...after.select(1)]).toEqual([...before.select(1)]);
});

test.each<[GradientNormOptions, RegExp]>([
  [{ active: 5 }, /active is 5, and 4 blocks have something to train. Set active to at most 4/],
  [{ intervall: 3 } as GradientNormOptions, /did you mean "interval"/],
  [{ epsilon: 2 }, /epsilon/],
])('%j is refused with its remedy', (options, message) => {
  expect(() => ready(options)).toThrow(message);
});

test('the plugin makes the selector that its name says', () => {
  expect(plugin.create({}).name).toBe(plugin.name);
  expect(gradientNorm().options).toEqual(plugin.options.parse({}));
});
