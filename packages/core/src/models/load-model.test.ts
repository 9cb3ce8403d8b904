import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { asBFloat16, BIASED, type Edit, editedModel, removeFolders, TIED, UNTIED } from '../__testing__/model-folder.js';
import { useBackend } from '../backend/use-backend.js';
import { AdaptedModel } from './adapted-model.js';
import { loadModel } from './load-model.js';

beforeAll(() => useBackend('cpu'));
afterAll(removeFolders);

const failure = async (source: string, edit: Edit) => {
  const folder = await editedModel(source, edit);
  return loadModel(folder).then(
    () => {
      throw new Error('loaded');
    },
    (error) => ({ code: error.code as string, message: error.message as string, facts: error.facts, folder }),
  );
};

test('what the model is, is known without asking for a weight', async () => {
  const model = await loadModel(UNTIED);
  expect(model.info).toMatchObject({
    source: UNTIED,
    architecture: 'LlamaForCausalLM',
    modelType: 'llama',
    vocabularySize: 96,
    width: 32,
    blocks: 3,
    contextLength: 512,
    bosTokenId: 1,
    eosTokenIds: [2],
    padTokenId: 0,
  });
  await model.dispose();
});

test('sites come in forward order with the shapes of their weights', async () => {
  const model = await loadModel(BIASED);
  expect(model.sites.slice(0, 4).map(({ path: p }) => p)).toEqual([
    'model.embed_tokens',
    'model.layers.0.input_layernorm',
    'model.layers.0.self_attn.q_proj',
    'model.layers.0.self_attn.k_proj',
  ]);
  expect(model.sites.slice(-2).map(({ path: p }) => p)).toEqual(['model.norm', 'lm_head']);
  for (const site of model.sites) {
    const weight = model.weight(site.path, 'weight');
    const shape = { linear: [site.out, site.in], embedding: [site.in, site.out], norm: [site.in], sublayer: undefined };
    expect(weight?.shape).toEqual(shape[site.kind]);
    expect(model.weight(site.path, 'bias')?.shape).toEqual(site.bias ? [site.out] : undefined);
  }
  await model.dispose();
});

test("a tied head is the embedding's weight", async () => {
  const model = await loadModel(TIED);
  expect(model.weight('lm_head', 'weight')).toBe(model.weight('model.embed_tokens', 'weight'));
  expect(model.sites.at(-1)).toMatchObject({ path: 'lm_head', tiedTo: 'model.embed_tokens' });
  await model.dispose();
});

test('the config of transformers 4 gives the same logits', async () => {
  const folder = await editedModel(UNTIED);
  const { readFileSync } = await import('node:fs');
  writeFileSync(path.join(folder, 'config.json'), readFileSync(path.join(UNTIED, 'config.v4.json')));
  const values = [];
  for (const source of [UNTIED, folder]) {
    const base = await loadModel(source);
    const logits = new AdaptedModel(base).logits([[1, 2, 3, 4]]);
    values.push(logits.dataSync());
    logits.dispose();
    await base.dispose();
  }
  expect(values[0]).toEqual(values[1]);
});

test('matrices of a bf16 file stay packed, vectors do not; f32 unpacks all', async () => {
  const folder = await editedModel(TIED, { tensors: asBFloat16 });
  for (const [weights, format] of [
    ['auto', 'bf16'],
    ['bf16', 'bf16'],
    ['f32', 'f32'],
  ] as const) {
    const model = await loadModel(folder, { weights });
    expect(model.weight('model.embed_tokens', 'weight')!.format).toBe(format);
    expect(model.weight('model.norm', 'weight')!.format).toBe('f32');
    await model.dispose();
  }
});

test('the fingerprint tells weights apart and does not depend on the folder', async () => {
  const fingerprint = async (folder: string) => {
    const model = await loadModel(folder);
    await model.dispose();
    return model.info.fingerprint;
  };
  const changed = await editedModel(TIED, {
    tensors: (tensors) => {
      tensors.get('model.layers.1.mlp.down_proj.weight')!.values[0]! += 1;
    },
  });
  const original = await fingerprint(TIED);
  expect(await fingerprint(await editedModel(TIED))).toBe(original);
  expect(await fingerprint(changed)).not.toBe(original);
});

test('an unknown architecture is an error with what there is', async () => {
  const { code, message } = await failure(TIED, { config: (config) => (config.model_type = 'gpt2') });
  expect(code).toBe('architecture-unknown');
  expect(message).toMatch(/config\.json: model type "gpt2" is not known; there is llama/);
});

test('a config without a model type is an error', async () => {
  const { code, message } = await failure(TIED, { config: (config) => delete config.model_type });
  expect(code).toBe('config-invalid');
  expect(message).toMatch(/has no "model_type"/);
});

test('an unknown rope scaling is an error with the file', async () => {
  const { code, message, folder } = await failure(TIED, {
    config: (config) => (config.rope_parameters = { rope_type: 'dynamic', factor: 2, rope_theta: 10000 }),
  });
  expect(code).toBe('config-invalid');
  expect(message).toContain(`${folder}/config.json: rope scaling "dynamic" is not known`);
});

test('a missing tensor is an error that names it', async () => {
  const { code, message } = await failure(TIED, {
    tensors: (tensors) => void tensors.delete('model.layers.1.self_attn.k_proj.weight'),
  });
  expect(code).toBe('tensor-missing');
  expect(message).toMatch(/model\.layers\.1\.self_attn\.k_proj\.weight/);
});

test('a tensor that does not fit the config is an error with both shapes', async () => {
  const { code, message, facts } = await failure(TIED, { config: (config) => (config.intermediate_size = 60) });
  expect(code).toBe('tensor-shape');
  expect(message).toMatch(/mlp\.gate_proj\.weight is \[64, 32\] in the file, and \[60, 32\] by config\.json/);
  expect(facts).toMatchObject({ stored: [64, 32], expected: [60, 32] });
});

test('a missing shard is an error that names it', async () => {
  const folder = await editedModel(TIED, {
    files: {
      'model.safetensors.index.json': JSON.stringify({
        weight_map: { 'model.norm.weight': 'model-00001-of-00002.safetensors' },
      }),
    },
  });
  rmSync(path.join(folder, 'model.safetensors'));
  await expect(loadModel(folder)).rejects.toMatchObject({
    code: 'shard-missing',
    message: expect.stringContaining('model-00001-of-00002.safetensors'),
  });
});

test('no such folder is an error that says what a folder holds', async () => {
  await expect(loadModel('/no/such/model')).rejects.toMatchObject({ code: 'file-missing' });
});
