import * as tf from '@tensorflow/tfjs-core';
import { removeFolders, UNTIED } from '../__testing__/model-folder.js';
import { draws, expectClose, expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { example, examples } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Example } from '../contracts/data-source.js';
import { AdaptedModel } from '../models/adapted-model.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { EngineProbe } from './engine-probe.js';
import { evaluateLoss } from './evaluate.js';

let base: CausalModel;
let model: AdaptedModel;
beforeAll(async () => {
  await useBackend('wasm');
  base = await loadModel(UNTIED);
  model = new AdaptedModel(base, full());
  // Away from the base model, so that gates count.
  for (const { name, variable } of model.parameters) {
    const noise = draws(name, variable.shape).map((x) => x / 10);
    tf.tidy(() => variable.assign(tf.add(variable, tf.tensor(noise, variable.shape))));
  }
});
afterAll(async () => {
  model.dispose();
  await base.dispose();
  removeFolders();
});

function probeOf(train: readonly Example[], batchSize = 2, validation: readonly Example[] = []): EngineProbe {
  return new EngineProbe({
    model,
    units: model.units('block'),
    data: { train, validation, fingerprint: '', description: '' },
    seed: 0,
    batchSize,
    recompute: () => false,
    restart: async () => {},
    onPass: () => {},
  });
}

test('the loss is that of evaluation, however many examples a pass holds', async () => {
  const all = examples(5);
  const { loss } = await evaluateLoss(model, all);
  for (const batchSize of [1, 2, 5]) {
    const probe = probeOf(all, batchSize);
    expectClose([await probe.loss(probe.batch({ size: 5, index: 0 }))], [loss], 1e-5);
  }
});

test('the derivative by a gate is the central difference of the gated loss', async () => {
  const probe = probeOf(examples(4));
  const batch = probe.batch({ size: 4, index: 0 });
  for (const id of ['model.embed_tokens', 'model.layers.1', 'lm_head']) {
    const { gradients } = await probe.gateGradients(batch, new Map([[id, 0.8]]));
    const at = (gate: number) => probe.loss(batch, { units: new Map([[id, gate]]) });
    const difference = ((await at(0.81)) - (await at(0.79))) / 0.02;
    // f32 losses of order 5 err by 1e-6, over 0.02: 5e-5; the rest is curvature.
    expectClose([gradients.get(id)!], [difference], 5e-3);
  }
});

test('gates of 0 on every unit are the base model', async () => {
  const all = examples(4);
  const probe = probeOf(all);
  const gates = new Map(model.units('block').map(({ id }) => [id, 0]));
  const { loss } = await evaluateLoss(new AdaptedModel(base), all);
  expectClose([await probe.loss(probe.batch({ size: 4, index: 0 }), { units: gates })], [loss], 1e-5);
});

test('a block whose gate is 0 is skipped, and one with gate 1 is not', async () => {
  const probe = probeOf(examples(2));
  const batch = probe.batch({ size: 2, index: 0 });
  const loss = (gate: number) => probe.loss(batch, { blocks: new Map([[1, gate]]) });
  expect(await loss(1)).toBe(await probe.loss(batch));
  expect(await loss(0)).not.toBe(await probe.loss(batch));
  const states = await probe.hiddenStates(batch);
  expect(states).toHaveLength(base.info.blocks + 1);
  probe.finish();
});

test('the same index gives the same batch, and a round of batches gives every example', async () => {
  const all = examples(6);
  const losses = async () => {
    const probe = probeOf(all);
    const values = [];
    for (const index of [0, 1, 2]) values.push(await probe.loss(probe.batch({ size: 2, index })));
    return values;
  };
  expect(await losses()).toEqual(await losses());
  const probe = probeOf(all);
  const tokens = [0, 1, 2].map((index) => probe.batch({ size: 2, index }).tokens);
  expect(tokens.reduce((sum, n) => sum + n, 0)).toBe(probe.batch({ size: 6, index: 0 }).tokens);
});

test('without held-out examples the training examples stand in', () => {
  const train = examples(3);
  expect(probeOf(train).batch({ size: 9, index: 0, split: 'validation' }).examples).toBe(3);
  expect(probeOf(train, 2, [example(9, 5)]).batch({ size: 9, index: 0, split: 'validation' }).examples).toBe(1);
});

test('examples without a label change nothing, even where they fill a pass', async () => {
  const all = examples(3);
  const gates = new Map([['model.layers.1', 1]]);
  const measure = async (train: readonly Example[]) => {
    const probe = probeOf(train, 1);
    const batch = probe.batch({ size: train.length, index: 0 });
    const { loss, gradients } = await probe.gateGradients(batch, gates);
    return [loss, ...gradients.values(), await probe.loss(batch), ...(await probe.gradientNorms(batch)).values()];
  };
  expectClose(await measure([...all, example(50, 6, 6)]), await measure(all), 1e-5);
});

test('examples without any label are an error that says so', async () => {
  const probe = probeOf([example(0, 5, 5)]);
  const batch = probe.batch({ size: 1, index: 0 });
  await expect(probe.loss(batch)).rejects.toMatchObject({ code: 'labels-masked' });
  await expect(probe.gradientNorms(batch)).rejects.toMatchObject({ code: 'labels-masked' });
});

test('a unit that is not there is an error that names those that are', async () => {
  const probe = probeOf(examples(1));
  const batch = probe.batch({ size: 1, index: 0 });
  await expect(probe.loss(batch, { units: new Map([['model.layers.9', 0]]) })).rejects.toThrow(
    /asked about unit "model\.layers\.9"; there is model\.embed_tokens, model\.layers\.0/,
  );
});

test('every question leaves no tensor behind', async () => {
  const probe = probeOf(examples(4));
  const batch = probe.batch({ size: 4, index: 0 });
  await expectNoTensorsLeft(async () => {
    await probe.loss(batch);
    await probe.gateGradients(batch, new Map([['model.layers.0', 1]]));
    await probe.gradientNorms(batch);
    await probe.hiddenStates(batch);
    probe.parameterNorms();
    probe.finish();
  });
});
