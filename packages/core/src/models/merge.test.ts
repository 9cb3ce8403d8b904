import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { asBFloat16, BIASED, editedModel, readAll, removeFolders, TIED, temporaryFolder, UNTIED } from '../__testing__/model-folder.js';
import { draws, expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Adapter } from '../contracts/adapter.js';
import { Parameter } from '../contracts/parameter.js';
import { AdaptedModel } from './adapted-model.js';
import { loadModel } from './load-model.js';
import { mergeIntoFolder } from './merge.js';

beforeAll(() => useBackend('cpu'));
afterAll(removeFolders);

function logitsOf(model: AdaptedModel): Float32Array {
  const logits = model.logits([[1, 5, 9, 4, 33]]);
  const values = logits.dataSync() as Float32Array;
  logits.dispose();
  return values;
}

/** Moves every parameter a little, as training would. */
function disturb(model: AdaptedModel): void {
  for (const { name, variable } of model.parameters) {
    tf.tidy(() => variable.assign(tf.add(variable, tf.tensor(draws(name, variable.shape).map((x) => x / 20), variable.shape))));
  }
}

/** Merges a disturbed model, and gives the largest difference between its logits and those of the merged folder. */
async function mergeAndCompare(source: string, targets: 'all' | string[] = 'all') {
  const target = path.join(temporaryFolder(), 'merged');
  const base = await loadModel(source);
  const model = new AdaptedModel(base, full({ targets }));
  const plain = logitsOf(new AdaptedModel(base));
  disturb(model);
  const trained = logitsOf(model);
  await expectNoTensorsLeft(() => mergeIntoFolder(model, target));
  const merged = await loadModel(target);
  const after = logitsOf(new AdaptedModel(merged));
  const largest = (a: Float32Array, b: Float32Array) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
  expect(largest(trained, plain)).toBeGreaterThan(0.05);
  model.dispose();
  await base.dispose();
  await merged.dispose();
  return { target, error: largest(after, trained) };
}

test.each([TIED, UNTIED, BIASED])('the merged folder has the logits of the trained model: %s', async (source) => {
  expect((await mergeAndCompare(source)).error).toBeLessThan(1e-4);
});

test('a tied head that was trained with its embedding stays tied', async () => {
  const { target } = await mergeAndCompare(TIED);
  expect((await readAll(path.join(target, 'model.safetensors'))).has('lm_head.weight')).toBe(false);
  expect(JSON.parse(readFileSync(path.join(target, 'config.json'), 'utf8')).tie_word_embeddings).toBe(true);
});

test.each([['embed_tokens'], ['lm_head']])('a tied model of which only %s was trained comes out untied', async (name) => {
  const { target, error } = await mergeAndCompare(TIED, [name]);
  expect(error).toBeLessThan(1e-4);
  const tensors = await readAll(path.join(target, 'model.safetensors'));
  expect(tensors.get('lm_head.weight')!.values).not.toEqual(tensors.get('model.embed_tokens.weight')!.values);
  expect(JSON.parse(readFileSync(path.join(target, 'config.json'), 'utf8')).tie_word_embeddings).toBe(false);
});

test('tensors that were not trained keep their bytes, and bf16 stays bf16', async () => {
  const source = await editedModel(UNTIED, { tensors: asBFloat16 });
  const { target, error } = await mergeAndCompare(source, ['q_proj']);
  // One rounding to 8 bits of every query weight, on logits of order 1.
  expect(error).toBeLessThan(0.05);
  const [before, after] = [await readAll(path.join(source, 'model.safetensors')), await readAll(path.join(target, 'model.safetensors'))];
  expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
  for (const [name, { dtype, values }] of after) {
    expect(dtype).toBe('BF16');
    if (name.includes('q_proj')) expect(values).not.toEqual(before.get(name)!.values);
    else expect(values).toEqual(before.get(name)!.values);
  }
});

test('tokenizer and other companions are copied as they are, weights and notes of others are not', async () => {
  const source = await editedModel(TIED, {
    files: {
      'tokenizer.json': '{"a":1}',
      'tokenizer_config.json': '{}',
      'special_tokens_map.json': '{}',
      'generation_config.json': '{}',
      'chat_template.jinja': 'x',
      'merges.txt': 'a b',
      'pytorch_model.bin': 'no',
      'notes.txt': 'no',
    },
  });
  const { target } = await mergeAndCompare(source);
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json', 'chat_template.jinja', 'merges.txt']) {
    expect(readFileSync(path.join(target, name), 'utf8')).toBe(readFileSync(path.join(source, name), 'utf8'));
  }
  for (const name of ['pytorch_model.bin', 'notes.txt', 'fixture.json']) expect(existsSync(path.join(target, name))).toBe(false);
});

test('an adapter that is no change of a weight is refused before anything is written', async () => {
  const base = await loadModel(TIED);
  const adapter: Adapter = {
    name: 'bottleneck',
    options: {},
    attach: (site) =>
      site.role === 'mlp_out'
        ? { parameters: [new Parameter(site.path, tf.scalar(0))], apply: (x, module) => module(x) }
        : undefined,
  };
  const target = path.join(temporaryFolder(), 'merged');
  const model = new AdaptedModel(base, adapter);
  await expect(mergeIntoFolder(model, target)).rejects.toMatchObject({
    code: 'adapter-not-mergeable',
    message: expect.stringMatching(/adapter bottleneck cannot be merged: what it adds at model\.layers\.0\.mlp is not/),
  });
  expect(existsSync(target)).toBe(false);
  model.dispose();
  await base.dispose();
});

test('a target that is a file is an error that says so', async () => {
  const file = path.join(temporaryFolder(), 'file');
  writeFileSync(file, 'x');
  const base = await loadModel(TIED);
  const model = new AdaptedModel(base, full());
  await expect(mergeIntoFolder(model, path.join(file, 'merged'))).rejects.toMatchObject({ code: 'output-not-writable' });
  expect(readFileSync(file, 'utf8')).toBe('x');
  model.dispose();
  await base.dispose();
});
