import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SelectorContext } from '../contracts/layer-selector.js';
import type { LayerUnit } from '../contracts/layer-unit.js';
import type { ModuleRole } from '../contracts/module-site.js';
import { keyedRandom } from '../random/keyed-random.js';
import { type FixedOptions, fixed } from './fixed.js';
import { writeImportance } from './importance-file.js';

const unit = (id: string, block?: number, role: ModuleRole | 'block' = 'block'): LayerUnit => ({
  id,
  block,
  role,
  sites: [],
  parameters: [],
  size: 1,
});
const blocks = Array.from({ length: 5 }, (_, i) => unit(`model.layers.${i}`, i));
const units = [
  unit('model.embed_tokens', undefined, 'embed'),
  ...blocks,
  unit('model.norm', undefined, 'norm'),
  unit('lm_head', undefined, 'head'),
];
const context = (of: readonly LayerUnit[] = units, seed = 0): SelectorContext => ({
  units: of,
  blocks: 5,
  steps: 10,
  random: (purpose, ...keys) => keyedRandom(seed, 'fixed', purpose, ...keys),
});
const trained = (options: FixedOptions, of = units, seed = 0) => {
  const selector = fixed(options);
  selector.setup(context(of, seed));
  return [...selector.select(0)];
};
const ids = (list: readonly LayerUnit[]) => list.map((u) => u.id);

let folder: string;
let file: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lft-fixed-'));
  file = join(folder, 'importance.json');
  const scores = new Map(blocks.map((u, i) => [u.id, [0.3, 0.1, 0.5, 0.2, 0.4][i]!]));
  await writeImportance(
    file,
    { method: 'ist', granularity: 'block', scores },
    {
      model: { source: 'm', fingerprint: 'f' },
      adapter: { name: 'lora' },
      data: { fingerprint: 'd' },
      seed: 0,
      step: 3,
      units,
    },
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

test('without options every unit trains', () => {
  expect(trained({})).toEqual(ids(units));
});

test('none is the empty set, also of what lies outside the blocks', () => {
  expect(trained({ train: 'none' })).toEqual([]);
});

test('first and last k count blocks, and what lies outside trains besides', () => {
  expect(trained({ first: 2 })).toEqual([
    'model.embed_tokens',
    'model.layers.0',
    'model.layers.1',
    'model.norm',
    'lm_head',
  ]);
  expect(trained({ last: 1 })).toEqual(['model.embed_tokens', 'model.layers.4', 'model.norm', 'lm_head']);
});

test('outside: freeze leaves the blocks alone', () => {
  expect(trained({ last: 2, outside: 'freeze' })).toEqual(['model.layers.3', 'model.layers.4']);
  expect(trained({ train: 'all', outside: 'freeze' })).toEqual(ids(blocks));
});

test('random k is distinct, the same for a seed, and its own seed wins over the run', () => {
  expect(trained({ random: 3, outside: 'freeze' })).toHaveLength(3);
  expect(trained({ random: 3 }, units, 1)).toEqual(trained({ random: 3 }, units, 1));
  expect(trained({ random: 2, seed: 7 }, units, 1)).toEqual(trained({ random: 2, seed: 7 }, units, 2));
  const sets = Array.from({ length: 20 }, (_, seed) => trained({ random: 2, seed }).join());
  expect(new Set(sets).size).toBeGreaterThan(4);
});

test('a list of units is literal', () => {
  expect(trained({ units: ['lm_head', 'model.layers.1'] })).toEqual(['model.layers.1', 'lm_head']);
  expect(trained({ units: ['model.layers.1'], outside: 'train' })).toContain('model.norm');
});

test('an unknown unit is refused with the nearest name and what there is', () => {
  expect(() => trained({ units: ['model.layer.1'] })).toThrow(/Did you mean model\.layers\.1\? There is: model\.embed/);
});

test('more units than there are is refused', () => {
  expect(() => trained({ first: 6 })).toThrow(/5 trainable units.*at most 5/);
});

test('a ranking is cut by share, by frozen share, from the top and from the bottom', () => {
  const inside = (options: FixedOptions) => trained({ importance: file, outside: 'freeze', ...options });
  expect(inside({ keep: 0.6 })).toEqual(['model.layers.0', 'model.layers.2', 'model.layers.4']);
  expect(inside({ freeze: 0.25 })).toEqual(['model.layers.0', 'model.layers.2', 'model.layers.3', 'model.layers.4']);
  expect(inside({ top: 1 })).toEqual(['model.layers.2']);
  expect(inside({ bottom: 1 })).toEqual(['model.layers.1']);
  expect(trained({ importance: file, top: 1 })).toContain('lm_head');
});

test('the granularity is the file’s, and another one is refused', () => {
  expect(fixed({ importance: file, keep: 0.5 }).granularity).toBe('block');
  expect(() => fixed({ importance: file, keep: 0.5, granularity: 'module' })).toThrow(/ranks at granularity block/);
});

test('units that the ranking does not know train along, ranked ones outside the blocks obey their rank', async () => {
  const modules = [
    unit('model.layers.0.input_layernorm', 0, 'norm'),
    unit('model.layers.0.self_attn.q_proj', 0, 'q'),
    unit('model.norm', undefined, 'norm'),
    unit('lm_head', undefined, 'head'),
  ];
  const path = join(folder, 'modules.json');
  const scores = new Map([
    ['model.layers.0.self_attn.q_proj', 2],
    ['lm_head', 1],
  ]);
  const origin = {
    model: { source: 'm', fingerprint: 'f' },
    adapter: { name: 'full' },
    data: { fingerprint: 'd' },
    seed: 0,
    step: 3,
    units: modules,
  };
  await writeImportance(path, { method: 'ila', granularity: 'module', scores }, origin);
  expect(trained({ importance: path, keep: 0.5 }, modules)).toEqual([
    'model.layers.0.input_layernorm',
    'model.layers.0.self_attn.q_proj',
    'model.norm',
  ]);
});

test('a ranking of units that the run lacks is refused', () => {
  expect(() => trained({ importance: file, keep: 0.5 }, units.slice(3))).toThrow(/same targets/);
});

test.each<[FixedOptions, RegExp]>([
  [{ first: 1, last: 1 }, /first and last exclude each other/],
  [{ keep: 0.5 }, /name its file with importance/],
  [{ importance: 'x' }, /importance needs one of keep, freeze, top, bottom/],
  [{ importance: 'x', keep: 0.5, top: 1 }, /keep and top given/],
  [{ importance: '/nowhere/importance.json', keep: 0.5 }, /cannot be read \(ENOENT\)/],
  [{ seed: 3 }, /seed belongs to random/],
  [{ frist: 1 } as FixedOptions, /did you mean "first"/],
])('%j is refused with its remedy', (options, message) => {
  expect(() => fixed(options)).toThrow(message);
});

test('a resumed run keeps its set when the ranking has changed meanwhile', () => {
  const before = fixed({ random: 2, outside: 'freeze' });
  before.setup(context(units, 1));
  const after = fixed({ random: 2, outside: 'freeze' });
  after.setup(context(units, 2));
  after.restore(JSON.parse(JSON.stringify(before.state())));
  expect([...after.select(4)]).toEqual([...before.select(4)]);
});
