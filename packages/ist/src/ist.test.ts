import { type Json, keyedRandom, type LayerUnit, type Probe, type ProbeGates, type SelectorContext } from '@lft/core';
import { codeRound, paperRound, rewards, sigmoid } from './importance-round.js';
import { type IstOptions, ist, selector as plugin } from './ist.js';

const unit = (id: string, block: number | undefined, role: LayerUnit['role']): LayerUnit => ({
  id,
  block,
  role,
  sites: [],
  parameters: [],
  size: 1,
});
const context = (blocks: number, steps = 100, seed = 0): SelectorContext => ({
  units: [
    ...Array.from({ length: blocks }, (_, i) => unit(`model.layers.${i}`, i, 'block')),
    unit('lm_head', undefined, 'head'),
  ],
  blocks,
  steps,
  random: (purpose, ...keys) => keyedRandom(seed, 'ist', purpose, ...keys),
});
const ready = (options: IstOptions = {}, blocks = 8, steps = 100, seed = 0) => {
  const selector = ist(options);
  selector.setup(context(blocks, steps, seed));
  return selector;
};

/** A model whose loss is a function of the gates; it writes down what it is asked. */
function fakeProbe(lossOf: (gates: Map<string, number>, call: number) => number) {
  const asked: Map<string, number>[] = [];
  const batches: Json[] = [];
  const probe = {
    batch(request: Json) {
      batches.push(request);
      return { examples: 1, tokens: 1 };
    },
    async loss(_: unknown, gates: ProbeGates) {
      asked.push(new Map(gates.units));
      return lossOf(asked[asked.length - 1]!, asked.length - 1);
    },
  } as unknown as Probe;
  return { probe, asked, batches };
}
/** Suppressing block i costs costs[i]. */
const additive = (costs: readonly number[]) =>
  fakeProbe(
    (gates) => 1 + [...gates].reduce((sum, [id, gate]) => sum + costs[Number(id.split('.')[2])]! * (1 - gate), 0),
  );

async function run(selector: ReturnType<typeof ist>, probe: Probe, from: number, to: number): Promise<string[]> {
  const sets: string[] = [];
  for (let step = from; step < to; step++) {
    await selector.probe?.(step, probe);
    sets.push([...selector.select(step)].join());
  }
  return sets;
}

describe('a round by hand: 4 blocks, two suppressed, losses 1.0, 1.2, 0.9', () => {
  const losses = [1.0, 1.2, 0.9];
  const suppressed = [
    [0, 1],
    [1, 2],
    [0, 3],
  ];
  const kept = [
    [2, 3],
    [0, 3],
    [1, 2],
  ];
  const near = (values: readonly number[], expected: readonly number[], digits = 6) =>
    values.map((value, i) => expect(value).toBeCloseTo(expected[i]!, digits));

  test('rewards', () => {
    near(rewards(losses), [0.0093317, -0.0573536, 0.0480219]);
  });

  test('rewards sum to 0', () => {
    expect(rewards([3, 1, 4, 1, 5]).reduce((a, b) => a + b, 0)).toBeCloseTo(0, 15);
  });

  test('scores of the code, and the weights that training draws by', () => {
    const U = codeRound([0, 0, 0, 0], suppressed, losses, 10);
    near(U, [0.1433839, -0.1200547, -0.1433839, 0.1200547]);
    near(
      U.map((u) => sigmoid(-u)),
      [0.4642153, 0.5299777, 0.5357847, 0.4700223],
    );
  });

  test('scores of the paper', () => {
    near(paperRound([0, 0, 0, 0], kept, losses, 10), [-0.5735356, 0.4802189, 0.5735356, -0.4802189]);
  });

  test('paper and code are one rule with I = −U, but for p(1 − p)', () => {
    const U = [0.3, -1, 0, 2];
    const stepOfCode = codeRound(U, suppressed, losses, 10).map((u, i) => u - U[i]!);
    const stepOfPaper = paperRound(U, kept, losses, 10).map((I, i) => I - U[i]!);
    near(
      stepOfCode,
      stepOfPaper.map((d, i) => -d * sigmoid(U[i]!) * (1 - sigmoid(U[i]!))),
      12,
    );
  });
});

test('a round suppresses N_v blocks by β in N_c different ways, on one batch', async () => {
  const { probe, asked, batches } = additive(Array(8).fill(0.1));
  const selector = ready({ suppressed: 3, candidates: 5, beta: 0.125, examples: 4, interval: 2 });
  await run(selector, probe, 0, 5);
  expect(batches).toEqual([
    { size: 4, split: 'train', index: 0 },
    { size: 4, split: 'train', index: 1 },
  ]);
  expect(asked).toHaveLength(10);
  for (const gates of asked) expect([...gates.values()]).toEqual([0.125, 0.125, 0.125]);
  expect(new Set(asked.slice(0, 5).map((gates) => [...gates.keys()].join())).size).toBe(5);
});

test('rounds come every T_i steps, not at step 0 and not after the last step', async () => {
  const { probe, batches } = additive(Array(8).fill(0.1));
  const selector = ready({ interval: 10 }, 8, 30);
  for (let step = 0; step <= 30; step++) {
    await selector.probe?.(step, probe);
    expect(batches).toHaveLength(step < 10 ? 0 : step < 20 ? 1 : 2);
  }
});

test('candidates differ even when the scores leave hardly a choice', async () => {
  const { probe, asked } = additive(Array(4).fill(0.1));
  const selector = ready({ suppressed: 1, candidates: 4, interval: 1 }, 4);
  selector.restore({ scores: [-60, 60, 60, 60], rounds: 1, scored: true });
  await selector.probe?.(1, probe);
  expect(new Set(asked.map((gates) => [...gates.keys()].join())).size).toBe(4);
});

test.each(['code', 'paper'] as const)('variant %s finds the blocks that cost most to suppress', async (variant) => {
  const { probe } = additive([0.1, 0.9, 0.1, 0.8, 0, 0.1]);
  const selector = ready({ variant, interval: 1, active: 2 }, 6, 200);
  await run(selector, probe, 0, 200);
  const { scores } = selector.importance()!;
  const ranked = [...scores].sort(([, a], [, b]) => b - a).map(([id]) => id);
  expect(ranked.slice(0, 2).sort()).toEqual(['model.layers.1', 'model.layers.3']);
});

test('every step draws N_u blocks anew, and what lies outside the blocks is not touched', () => {
  const selector = ready({ active: 2 });
  const sets = Array.from({ length: 50 }, (_, step) => [...selector.select(step)]);
  for (const set of sets) {
    expect(set).toHaveLength(3);
    expect(set).toContain('lm_head');
  }
  expect(new Set(sets.map(String)).size).toBeGreaterThan(15);
});

test.each(['multinomial', 'topk'] as const)(
  'before the first round %s is uniform (χ² over the marginals)',
  (selection) => {
    const selector = ready({ active: 2, selection });
    const counts = Array(8).fill(0);
    for (let step = 0; step < 4000; step++) {
      for (const id of selector.select(step)) if (id !== 'lm_head') counts[Number(id.split('.')[2])] += 1;
    }
    const chi = counts.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    // 7 degrees of freedom: 24.3 is exceeded with probability 0.001.
    expect(chi).toBeLessThan(24.3);
  },
);

test('multinomial draws in proportion to σ(importance)', () => {
  const selector = ready({ active: 1 }, 4);
  const scores = [-2, 0, 1, -1];
  selector.restore({ scores, rounds: 1, scored: true });
  const counts = Array(4).fill(0);
  for (let step = 0; step < 4000; step++) counts[Number([...selector.select(step)][1]!.split('.')[2])] += 1;
  const total = scores.map(sigmoid).reduce((a, b) => a + b, 0);
  const chi = counts.reduce((sum, count, i) => {
    const expected = (4000 * sigmoid(scores[i]!)) / total;
    return sum + (count - expected) ** 2 / expected;
  }, 0);
  // 3 degrees of freedom: 16.3 is exceeded with probability 0.001.
  expect(chi).toBeLessThan(16.3);
});

test('topk takes the most important blocks', () => {
  const selector = ready({ active: 2, selection: 'topk' }, 4);
  selector.restore({ scores: [0.1, 0.4, 0.2, 0.3], rounds: 1, scored: true });
  expect([...selector.select(5)]).toEqual(['lm_head', 'model.layers.1', 'model.layers.3']);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])('a round with the loss %p is skipped', async (bad) => {
  const { probe } = fakeProbe((_, call) => (call === 1 ? bad : 1));
  const selector = ready({ interval: 1 });
  await selector.probe?.(1, probe);
  expect(selector.importance()).toBeUndefined();
  expect(selector.state()).toEqual({ scores: Array(8).fill(0), rounds: 1, scored: false });
});

test('there is no importance before the first round', () => {
  expect(ready().importance()).toBeUndefined();
});

test.each([1, 10, 14, 25])('resuming at step %i selects what the uninterrupted run selects', async (at) => {
  const costs = [0.1, 0.9, 0.3, 0.8, 0, 0.1, 0.5, 0.2];
  const whole = ready({ interval: 5 });
  const expected = await run(whole, additive(costs).probe, 0, 40);
  const before = ready({ interval: 5 });
  await run(before, additive(costs).probe, 0, at);
  const after = ready({ interval: 5 });
  after.restore(JSON.parse(JSON.stringify(before.state())) as Json);
  expect(await run(after, additive(costs).probe, at, 40)).toEqual(expected.slice(at));
  expect(after.state()).toEqual(whole.state());
});

test('shares become counts, rounded down, at least one', () => {
  expect(ready({}, 5).select(0).size).toBe(1 + 1);
  expect(ready({}, 32).select(0).size).toBe(8 + 1);
  expect(ready({ active: 3 }, 5).select(0).size).toBe(3 + 1);
});

test('the optimizer state is kept', () => {
  expect(ist().optimizerState).toBe('keep');
});

test.each<[IstOptions, number, RegExp]>([
  [{ active: 9 }, 8, /active is 9, and 8 blocks.*at most 8/],
  [{ suppressed: 8 }, 8, /suppressed is 8.*at most 7/],
  [{}, 1, /IST needs two blocks or more/],
  [{ suppressed: 1, candidates: 5 }, 4, /only 4 ways to suppress 1 of 4 blocks. Set candidates to at most 4/],
  [{ candidates: 1 }, 8, /candidates/],
  [{ active: 1.5 }, 8, /neither a share in \(0, 1\) nor a whole number/],
  [{ beta: 1 }, 8, /beta/],
  [{ candidate: 3 } as IstOptions, 8, /did you mean "candidates"/],
])('%j on %i blocks is refused with its remedy', (options, blocks, message) => {
  expect(() => ready(options, blocks)).toThrow(message);
});

test('as many candidates as there are sets are possible', async () => {
  const { probe, asked } = additive([0.1, 0.2]);
  await ready({ candidates: 2, interval: 1 }, 2).probe?.(1, probe);
  expect(asked.map((gates) => [...gates.keys()][0]).sort()).toEqual(['model.layers.0', 'model.layers.1']);
});

test('the plugin makes the selector that its name says', () => {
  expect(plugin.create({}).name).toBe(plugin.name);
  expect(ist().options).toEqual(plugin.options.parse({}));
});
