import { BIASED, TIED, UNTIED } from '../__testing__/model-folder.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Granularity } from '../contracts/layer-unit.js';
import { AdaptedModel } from './adapted-model.js';
import { loadModel } from './load-model.js';

beforeAll(() => useBackend('cpu'));

async function units(folder: string, granularity: Granularity, options?: Parameters<typeof full>[0]) {
  const base = await loadModel(folder);
  const model = new AdaptedModel(base, full(options));
  const result = model.units(granularity);
  model.dispose();
  await base.dispose();
  return { units: result, model };
}

test.each<Granularity>(['block', 'module', 'matrix'])('every parameter is in exactly one %s', async (granularity) => {
  const { units: all, model } = await units(BIASED, granularity);
  expect(all.flatMap(({ parameters }) => parameters)).toEqual(model.parameters);
  expect(all.reduce((sum, { size }) => sum + size, 0)).toBe(model.trainable);
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
});

test('blocks are units, and what lies outside them is one unit each, in forward order', async () => {
  const { units: all } = await units(UNTIED, 'block');
  expect(all.map(({ id, block, role }) => [id, block, role])).toEqual([
    ['model.embed_tokens', undefined, 'embed'],
    ['model.layers.0', 0, 'block'],
    ['model.layers.1', 1, 'block'],
    ['model.layers.2', 2, 'block'],
    ['model.norm', undefined, 'norm'],
    ['lm_head', undefined, 'head'],
  ]);
});

test('a module has its weight and bias', async () => {
  const { units: all } = await units(BIASED, 'module', { targets: ['q_proj'] });
  expect(all.map(({ id, role }) => [id, role])).toEqual([
    ['model.layers.0.self_attn.q_proj', 'q'],
    ['model.layers.1.self_attn.q_proj', 'q'],
  ]);
  expect(all[0]!.parameters.map(({ name }) => name)).toEqual([
    'model.layers.0.self_attn.q_proj.weight',
    'model.layers.0.self_attn.q_proj.bias',
  ]);
});

test('a matrix is one parameter under its name', async () => {
  const { units: all } = await units(BIASED, 'matrix', { targets: ['q_proj'] });
  for (const { id, parameters } of all) expect(parameters.map(({ name }) => name)).toEqual([id]);
  expect(all).toHaveLength(4);
});

test("a tied embedding is one unit, counted once, that names both places", async () => {
  const { units: all, model } = await units(TIED, 'block');
  expect(all.map(({ id }) => id)).toEqual(['model.embed_tokens', 'model.layers.0', 'model.layers.1', 'model.norm']);
  expect(all[0]!.sites.map(({ path }) => path)).toEqual(['model.embed_tokens', 'lm_head']);
  expect(model.trainable).toBe(23712);
});
