import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { removeFolders, temporaryFolder, UNTIED } from '../__testing__/model-folder.js';
import { choosing, examples, source, valuesOf } from '../__testing__/run-parts.js';
import { useBackend } from '../backend/use-backend.js';
import { SafetensorsFile } from '../formats/safetensors-file.js';
import { AdaptedModel } from '../models/adapted-model.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { adamw } from '../optimizer/adamw.js';
import { type FineTuneOptions, fineTune } from '../trainer/fine-tune.js';
import { full } from './full.js';

let model: CausalModel;
beforeAll(async () => {
  await useBackend('wasm');
  model = await loadModel(UNTIED);
});
afterAll(async () => {
  await model.dispose();
  removeFolders();
});

const train = (options: Partial<FineTuneOptions> = {}) =>
  fineTune({
    model,
    adapter: full(),
    selector: choosing((step) => [`model.layers.${1 + (step % 2)}`]),
    optimizer: adamw({ learningRate: 1e-3 }),
    data: source(examples(6), examples(2, 100)),
    batchSize: 2,
    steps: 2,
    ...options,
  });
const madeOf = ({ parameters }: AdaptedModel) => parameters.filter(({ made }) => made).map(({ name }) => name);

test('weights that have not trained take no memory', async () => {
  const before = tf.memory().numBytes;
  const adapted = new AdaptedModel(model, full());
  expect(tf.memory().numBytes).toBe(before);
  expect(adapted.trainable).toBe(
    adapted.parameters.reduce((sum, each) => sum + tf.util.sizeFromShape([...each.shape]), 0),
  );
  adapted.dispose();
});

test('a run makes copies of what trained and of nothing else, in memory and in its checkpoint', async () => {
  const out = path.join(temporaryFolder(), 'run');
  const run = await train({ out });
  expect(new Set(madeOf(run.model).map((name) => name.split('.')[2]))).toEqual(new Set(['1', '2']));
  const saved = await SafetensorsFile.open(path.join(out, 'checkpoints/step-000002/parameters.safetensors'));
  expect([...saved.tensors.keys()].sort()).toEqual(madeOf(run.model).sort());
  await saved.close();
  run.dispose();
});

test('whether frozen weights were copied does not change what is learned', async () => {
  const lazy = await train();
  // Reading a variable makes it.
  const eager = await train({
    adapter: {
      ...full(),
      attach: (site, init) => {
        const delta = full().attach(site, init);
        for (const { variable } of delta?.parameters ?? []) expect(variable.isDisposed).toBe(false);
        return delta;
      },
    },
  });
  expect(madeOf(eager.model)).toHaveLength(eager.model.parameters.length);
  // The same product, with the transpose made by another loop.
  for (const [step, loss] of lazy.losses.entries()) expect(Math.abs(loss / eager.losses[step]! - 1)).toBeLessThan(1e-6);
  expect(lazy.evaluations.map(({ loss }) => loss.toFixed(5))).toEqual(
    eager.evaluations.map(({ loss }) => loss.toFixed(5)),
  );
  expect(Object.keys(valuesOf(lazy))).toEqual(Object.keys(valuesOf(eager)));
  lazy.dispose();
  eager.dispose();
});

test('a saved adapter holds every weight, those that have not trained too', async () => {
  const folder = path.join(temporaryFolder(), 'adapter');
  const run = await train();
  await run.save(folder);
  const made = madeOf(run.model).length;
  const file = await SafetensorsFile.open(path.join(folder, 'adapter.safetensors'));
  expect(file.tensors.size).toBe(run.model.parameters.length);
  const frozen = run.model.parameters.find((each) => !each.made)!;
  const value = frozen.value();
  expect(await file.readFloat32(frozen.name)).toEqual(value.dataSync());
  value.dispose();
  expect(madeOf(run.model)).toHaveLength(made);
  await file.close();
  run.dispose();
});

test('back at their initial values, weights need no copies', () => {
  const adapted = new AdaptedModel(model, full());
  const [first, second] = adapted.parameters;
  const initial = first!.value();
  tf.tidy(() => first!.variable.assign(tf.add(first!.variable, 1)));
  adapted.reinitialize();
  expect([first!.made, second!.made]).toEqual([false, false]);
  const value = first!.value();
  expect(value.dataSync()).toEqual(initial.dataSync());
  tf.dispose([initial, value]);
  adapted.dispose();
});
