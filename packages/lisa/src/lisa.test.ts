import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Json, keyedRandom, type LayerUnit, type SelectorContext, writeImportance } from '@lft/core';
import { type LisaOptions, lisa, selector as plugin } from './lisa.js';

const unit = (id: string, block: number | undefined, role: LayerUnit['role']): LayerUnit => ({
  id,
  block,
  role,
  sites: [],
  parameters: [],
  size: 1,
});
const model = (blocks: number) => [
  unit('model.embed_tokens', undefined, 'embed'),
  ...Array.from({ length: blocks }, (_, i) => unit(`model.layers.${i}`, i, 'block')),
  unit('model.norm', undefined, 'norm'),
  unit('lm_head', undefined, 'head'),
];
const context = (blocks: number, steps = 100, seed = 0, units = model(blocks)): SelectorContext => ({
  units,
  blocks,
  steps,
  random: (purpose, ...keys) => keyedRandom(seed, 'lisa', purpose, ...keys),
});
const ready = (options: LisaOptions, blocks = 8, steps = 100, seed = 0) => {
  const selector = lisa(options);
  selector.setup(context(blocks, steps, seed));
  return selector;
};
const drawn = (set: ReadonlySet<string>) => [...set].filter((id) => id.startsWith('model.layers.'));
const sets = (selector: ReturnType<typeof lisa>, from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => [...selector.select(from + i)].join());

test('embedding, final norm and head train in every step, with γ distinct blocks', () => {
  const selector = ready({ active: 3, interval: 1 });
  for (let step = 0; step < 50; step++) {
    const set = selector.select(step);
    expect([...set]).toEqual(expect.arrayContaining(['model.embed_tokens', 'model.norm', 'lm_head']));
    expect(drawn(set)).toHaveLength(3);
  }
});

test('embeddings: false freezes what lies outside the blocks', () => {
  expect([...ready({ embeddings: false }).select(0)]).toHaveLength(2);
});

test('the set changes at multiples of K, step 0 and a shorter last period included, and only there', () => {
  const all = sets(ready({ active: 2, interval: 20 }, 22, 50), 0, 50);
  expect(new Set(all.slice(0, 20)).size).toBe(1);
  expect(new Set(all.slice(20, 40)).size).toBe(1);
  expect(new Set(all.slice(40)).size).toBe(1);
  expect(new Set(all).size).toBe(3);
});

test('K as a fraction is ⌈fraction · T⌉', () => {
  const all = sets(ready({ interval: { fraction: 1 / 25 } }, 22, 110), 0, 110);
  const changes = all.flatMap((set, step) => (step > 0 && set !== all[step - 1] ? [step] : []));
  expect(changes.every((step) => step % 5 === 0)).toBe(true);
  expect(changes.length).toBeGreaterThan(15);
});

test('the same seed draws the same sets, another seed others', () => {
  const of = (seed: number) => sets(ready({ interval: 1 }, 8, 100, seed), 0, 100);
  expect(of(4)).toEqual(of(4));
  expect(of(4)).not.toEqual(of(5));
});

test('each of 32 blocks is drawn with probability γ/N_L = 0.0625 (χ² over the marginals)', () => {
  const intervals = 496 * 8;
  const selector = ready({ active: 2, interval: 1, embeddings: false }, 32, intervals);
  const counts = new Map<string, number>();
  const pairs = new Set<string>();
  for (let step = 0; step < intervals; step++) {
    const set = [...selector.select(step)];
    pairs.add(set.join());
    for (const id of set) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  const expected = intervals * 0.0625;
  const chi = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  // 31 degrees of freedom: 61.1 is exceeded with probability 0.001.
  expect(counts.size).toBe(32);
  expect(chi).toBeLessThan(61.1);
  // All of the C(32, 2) = 496 sets occur; each is missed with probability e^−8.
  expect(pairs.size).toBeGreaterThan(490);
});

test('bernoulli draws γ blocks in expectation, and never none', () => {
  const selector = ready({ active: 2, interval: 1, embeddings: false, sampling: 'bernoulli' }, 8, 4000);
  const sizes = Array.from({ length: 4000 }, (_, step) => selector.select(step).size);
  expect(Math.min(...sizes)).toBe(1);
  expect(new Set(sizes).size).toBeGreaterThan(3);
  // E[size | size > 0] = 2 / (1 − 0.75^8) = 2.2225; standard error 0.018.
  expect(sizes.reduce((a, b) => a + b, 0) / 4000).toBeCloseTo(2.2225, 1);
});

test('weights: increase prefers late blocks, decrease early ones, a list is taken as it is', () => {
  const meanIndex = (probabilities: LisaOptions['probabilities']) => {
    const selector = ready({ active: 1, interval: 1, embeddings: false, probabilities }, 4, 2000);
    let sum = 0;
    for (let step = 0; step < 2000; step++) sum += Number([...selector.select(step)][0]!.split('.')[2]);
    return sum / 2000;
  };
  // Σ i·(i+1)/10 = 2; standard deviation 1, standard error 0.022.
  expect(meanIndex('increase')).toBeCloseTo(2, 0.9);
  expect(meanIndex('decrease')).toBeCloseTo(1, 0.9);
  expect(meanIndex([0, 0, 5, 0])).toBe(2);
});

describe('a norm profile', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lft-lisa-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const write = async (name: string, scores: number[], granularity: 'block' | 'module' = 'block') => {
    const path = join(folder, name);
    const ids = scores.map((_, i) => `model.layers.${i}`);
    await writeImportance(
      path,
      { method: 'norms', granularity, scores: new Map(ids.map((id, i) => [id, scores[i]!])) },
      {
        model: { source: 'm', fingerprint: 'f' },
        adapter: { name: 'lora' },
        data: { fingerprint: 'd' },
        seed: 0,
        step: 1,
        units: ids.map((id, block) => ({ id, block })),
      },
    );
    return path;
  };

  test('is the importance and drives the draw', async () => {
    const importance = await write('a.json', [0, 3, 0, 1]);
    const selector = ready({ active: 1, interval: 1, probabilities: { importance } }, 4, 400);
    const seen = Array.from({ length: 400 }, (_, step) => drawn(selector.select(step))[0]);
    expect(new Set(seen)).toEqual(new Set(['model.layers.1', 'model.layers.3']));
    // p = 3/4 of 400 draws; 5 standard errors are 43.
    expect(Math.abs(seen.filter((id) => id === 'model.layers.1').length - 300)).toBeLessThan(43);
    expect(selector.importance()?.scores.get('model.layers.1')).toBe(3);
  });

  test('over another one is their quotient', async () => {
    const importance = await write('lora.json', [1, 4, 9, 4]);
    const over = await write('full.json', [1, 2, 3, 4]);
    expect([...lisa({ probabilities: { importance, over } }).importance()!.scores.values()]).toEqual([1, 2, 3, 1]);
  });

  test('that ranks modules, lacks blocks or has too few positive scores is refused', async () => {
    const modules = await write('modules.json', [1], 'module');
    expect(() => lisa({ probabilities: { importance: modules } })).toThrow(/LISA draws blocks. Aggregate it/);
    const short = await write('short.json', [1, 1]);
    expect(() => ready({ probabilities: { importance: short } }, 4)).toThrow(/gives model\.layers\.2 no score/);
    const zero = await write('zero.json', [1, 0, 0, 0]);
    expect(() => ready({ probabilities: { importance: zero } }, 4)).toThrow(/only 1 of 4 blocks/);
  });
});

test('uniform draws have no importance', () => {
  expect(ready({}).importance()).toBeUndefined();
});

test('a run resumed in the middle of a period goes on with its blocks', () => {
  const expected = sets(ready({ interval: 7 }), 0, 40);
  const before = ready({ interval: 7 });
  sets(before, 0, 10);
  const after = ready({ interval: 7 });
  after.restore(JSON.parse(JSON.stringify(before.state())) as Json);
  expect(sets(after, 10, 40)).toEqual(expected.slice(10));
});

test('the set of a saved state is applied even where another would be drawn', () => {
  const after = ready({ interval: 20 });
  after.restore({ period: 0, active: ['model.layers.6', 'model.layers.7'] });
  expect(drawn(after.select(13))).toEqual(['model.layers.6', 'model.layers.7']);
});

test('the optimizer state of a block that is switched off is dropped by default', () => {
  expect(lisa().optimizerState).toBe('reset');
  expect(lisa({ optimizerState: 'keep' }).optimizerState).toBe('keep');
});

test.each<[LisaOptions, RegExp]>([
  [{ active: 9 }, /active is 9, and 8 blocks.*at most 8/],
  [{ active: 0 }, /active/],
  [{ interval: 0 }, /interval/],
  [{ probabilities: [1, 2] }, /2 weights, and 8 blocks.*one weight a block/],
  [{ probabilities: [1, 0, 0, 0, 0, 0, 0, 0] }, /only 1 of 8 blocks have a probability above 0/],
  [{ intervall: 3 } as LisaOptions, /did you mean "interval"/],
])('%j is refused with its remedy', (options, message) => {
  expect(() => ready(options)).toThrow(message);
});

test('the plugin makes the selector that its name says', () => {
  expect(plugin.create({}).name).toBe(plugin.name);
  expect(lisa().options).toEqual(plugin.options.parse({}));
});
