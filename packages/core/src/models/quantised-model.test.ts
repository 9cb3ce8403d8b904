import { readFileSync } from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { BIASED, editedModel, removeFolders, TIED, temporaryFolder, UNTIED } from '../__testing__/model-folder.js';
import { examples, source } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Adapter } from '../contracts/adapter.js';
import { Parameter } from '../contracts/parameter.js';
import { collate } from '../trainer/batch.js';
import { fineTune } from '../trainer/fine-tune.js';
import { summedLoss } from '../trainer/forward-stages.js';
import { lossGradients } from '../trainer/loss-gradients.js';
import { wantedParameters } from '../trainer/wanted-parameters.js';
import { FrozenWeight, type WeightFormat } from '../weights/frozen-weight.js';
import { unpack } from '../weights/unpack.js';
import { AdaptedModel } from './adapted-model.js';
import { loadModel } from './load-model.js';
import { mergeIntoFolder } from './merge.js';

const STORIES = path.join(__dirname, '../../../../models/stories260K');
const QUANTISED = ['int8', 'nf4'] as const;
const EMBEDDING = full({ targets: ['embed_tokens'] });

beforeAll(() => useBackend('wasm'));
afterAll(removeFolders);

const batchOf = (rows: readonly number[][]) =>
  collate(
    rows.map((ids) => ({ ids: Int32Array.from(ids), labels: Int32Array.from(ids) })),
    0,
  );

const rowsOf = (folder: string): number[][] =>
  folder === STORIES
    ? JSON.parse(readFileSync(path.join(STORIES, 'reference.json'), 'utf8')).prompts.map(
        ({ input_ids }: { input_ids: number[] }) => input_ids,
      )
    : JSON.parse(readFileSync(path.join(folder, 'fixture.json'), 'utf8')).input_ids;

test.each(QUANTISED)('%s: the linear modules of the blocks are quantised, and nothing else', async (weights) => {
  const model = await loadModel(BIASED, { weights });
  for (const { path: site, kind, block, bias } of model.sites) {
    const quantised = kind === 'linear' && block !== undefined;
    if (kind !== 'sublayer') expect(model.weight(site, 'weight')!.format).toBe(quantised ? weights : 'f32');
    if (bias) expect(model.weight(site, 'bias')!.format).toBe('f32');
  }
  await model.dispose();
});

// What was measured, and about half as much again: rounding errors of many weights add up at random. stories260K is 64 values wide, so
// that four bits are felt; its loss is that of a trained model, the fixtures' are those of random ones.
test.each([
  [STORIES, { int8: 0.0015, nf4: 0.25 }],
  [TIED, { int8: 0.001, nf4: 0.001 }],
  [UNTIED, { int8: 0.001, nf4: 0.0015 }],
  [BIASED, { int8: 0.001, nf4: 0.0015 }],
])('the loss of %s is near that of f32', async (folder, bounds) => {
  const batch = batchOf(rowsOf(folder));
  const lossOf = async (weights: WeightFormat) => {
    const base = await loadModel(folder, { weights });
    const loss = summedLoss({ model: base, pass: new AdaptedModel(base).forward(), batch });
    await base.dispose();
    return loss;
  };
  const exact = await lossOf('f32');
  for (const weights of QUANTISED) expect(Math.abs((await lossOf(weights)) / exact - 1)).toBeLessThan(bounds[weights]);
});

describe.each(['cpu', 'wasm'])('on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  afterAll(() => useBackend('wasm'));

  test.each(QUANTISED)('%s: loss and gradients are those of the dequantised weights', async (weights) => {
    // A file that holds what the quantised matrices dequantise to.
    const dequantised = await editedModel(UNTIED, {
      tensors: (tensors) => {
        for (const [name, stored] of tensors) {
          if (!name.includes('_proj.weight')) continue;
          const { data } = FrozenWeight.pack(name, stored.shape, stored.values, weights);
          stored.values = unpack(data, 0, data.length);
        }
      },
    });
    const batch = batchOf(rowsOf(UNTIED).slice(0, 2));
    const results = [];
    for (const [folder, held] of [[UNTIED, weights], [dequantised, 'f32']] as const) {
      const base = await loadModel(folder, { weights: held });
      // The gradient at the embedding has come through the dX of every matrix.
      const model = new AdaptedModel(base, EMBEDDING);
      const { loss, gradients } = lossGradients({
        model: base,
        pass: model.forward(),
        batch,
        wanted: wantedParameters(model, model.parameters),
        recompute: false,
      });
      results.push({ loss, gradient: gradients[0]!.dataSync() });
      tf.dispose(gradients);
      model.dispose();
      await base.dispose();
    }
    const [quantised, reference] = results as [(typeof results)[0], (typeof results)[0]];
    expect(quantised.loss).toBeCloseTo(reference.loss, 3);
    expect(Math.max(...reference.gradient)).toBeGreaterThan(0.1);
    for (const [i, value] of reference.gradient.entries()) expect(quantised.gradient[i]).toBeCloseTo(value, 5);
  });
});

test('what trains a quantised weight itself is refused with the module and the remedy; the embedding trains', async () => {
  const base = await loadModel(TIED, { weights: 'int8' });
  expect(() => new AdaptedModel(base, full())).toThrow(
    expect.objectContaining({
      code: 'options-invalid',
      message: expect.stringMatching(
        /adapter full trains the weight of model\.layers\.0\.self_attn\.q_proj itself, and the model holds it as int8.*'auto' or 'bf16'.*LoRA/,
      ),
    }),
  );
  const run = await fineTune({ model: base, adapter: EMBEDDING, data: source(examples(4)), steps: 2, batchSize: 4 });
  expect(run.losses[1]).toBeLessThan(run.losses[0]!);
  run.dispose();
  await base.dispose();
});

test.each(QUANTISED)('%s: merging adds to the weights of the file, not to the quantised ones', async (weights) => {
  const doubling: Adapter = {
    name: 'doubling',
    options: {},
    attach: (site) =>
      site.role === 'q'
        ? { parameters: [new Parameter(site.path, tf.scalar(2))], merged: (_, values) => tf.mul(values, 2) }
        : undefined,
  };
  const merged = [];
  for (const held of ['f32', weights] as const) {
    const target = path.join(temporaryFolder(), 'merged');
    const base = await loadModel(UNTIED, { weights: held });
    const model = new AdaptedModel(base, doubling);
    await mergeIntoFolder(model, target);
    merged.push(readFileSync(path.join(target, 'model.safetensors')));
    model.dispose();
    await base.dispose();
  }
  expect(merged[1]!.equals(merged[0]!)).toBe(true);
});

test('a run remembers how the weights were held, and does not go on with others', async () => {
  const out = path.join(temporaryFolder(), 'run');
  const train = async (weights: WeightFormat, resume: boolean) => {
    const model = await loadModel(TIED, { weights });
    const run = await fineTune({ model, adapter: EMBEDDING, data: source(examples(4)), steps: 1, batchSize: 2, out, resume });
    run.dispose();
  };
  await train('int8', false);
  expect(JSON.parse(readFileSync(path.join(out, 'config.json'), 'utf8')).model.weights).toBe('int8');
  await expect(train('nf4', true)).rejects.toMatchObject({
    code: 'resume-mismatch',
    message: expect.stringContaining('model.weights was "int8" and is "nf4"'),
  });
});

test('a format that there is not is an error with those that there are', async () => {
  await expect(loadModel(TIED, { weights: 'int4' as 'int8' })).rejects.toMatchObject({
    code: 'options-invalid',
    message: expect.stringMatching(/loadModel: weights: .*"auto"\|"f32"\|"bf16"\|"int8"\|"nf4"/),
  });
});
