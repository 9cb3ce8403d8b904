import * as tf from '@tensorflow/tfjs-core';
import { removeFolders, UNTIED } from '../__testing__/model-folder.js';
import { expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { examples, source, valuesOf } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Adapter } from '../contracts/adapter.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { adamw } from '../optimizer/adamw.js';
import { type FineTuneOptions, fineTune } from './fine-tune.js';

let model: CausalModel;
beforeAll(async () => {
  await useBackend('wasm');
  model = await loadModel(UNTIED);
});
afterAll(async () => {
  await model.dispose();
  removeFolders();
});

async function train(options: Partial<FineTuneOptions> = {}) {
  const calls: { names: string[]; gradients: tf.Tensor[]; earlierAlive: boolean }[] = [];
  const optimizer = adamw({ learningRate: 1e-3 });
  const step = optimizer.step.bind(optimizer);
  optimizer.step = (updates, rate) => {
    calls.push({
      names: updates.map(({ parameter }) => parameter.name),
      gradients: updates.map(({ gradient }) => gradient),
      earlierAlive: calls.some(({ gradients }) => gradients.some(({ isDisposed }) => !isDisposed)),
    });
    step(updates, rate);
  };
  const data = source(examples(8));
  const base = { model, data, adapter: full(), optimizer, batchSize: 2, steps: 3, clipNorm: 0, recompute: true };
  const run = await fineTune({ ...base, ...options });
  const values = valuesOf(run);
  run.dispose();
  return { calls, values, losses: run.losses };
}

test.each([1, 2])(
  'gradients that are applied one by one move parameters as all at once (%i micro-batches)',
  async (n) => {
    const apart = await train({ gradientAccumulation: n });
    // A norm that is never reached: nothing is clipped, but the norm must be known first.
    const together = await train({ gradientAccumulation: n, clipNorm: 1e9 });
    expect(together.calls).toHaveLength(3);
    expect(apart.calls.length).toBeGreaterThan(6);
    expect([apart.values, apart.losses]).toEqual([together.values, together.losses]);
  },
);

test('without clipping a gradient is freed before those of lower blocks are applied', async () => {
  const { calls } = await train({ steps: 1 });
  // Head and final norm, three blocks, the embedding; each tensor by itself.
  expect(calls.every(({ names }) => names.length === 1)).toBe(true);
  const places = calls.map(({ names }) => names[0]!.split('.').slice(0, 3).join('.'));
  expect(places.filter((place, i) => place !== places[i - 1])).toEqual([
    'lm_head.weight',
    'model.norm.weight',
    'model.layers.2',
    'model.layers.1',
    'model.layers.0',
    'model.embed_tokens.weight',
  ]);
  expect(calls.some(({ earlierAlive }) => earlierAlive)).toBe(false);
});

test('an adapter with afterStep gets all gradients together', async () => {
  const seen: string[][] = [];
  const adapter: Adapter = { ...full(), afterStep: ({ gradients }) => seen.push([...gradients.keys()]) };
  const { calls, values } = await train({ adapter, steps: 1 });
  expect(calls).toHaveLength(1);
  expect(seen).toEqual([Object.keys(values)]);
});

/** The loss of full(), with a gradient that is NaN at one weight. */
function poisoned(site: string): Adapter {
  const poison = tf.customGrad((x) => ({
    value: (x as tf.Tensor).clone(),
    gradFunc: (dy: tf.Tensor) => tf.mul(dy, Number.NaN),
  }));
  const adapter = full();
  return {
    ...adapter,
    attach(place, init) {
      const delta = adapter.attach(place, init);
      if (!delta || place.path !== site) return delta;
      const reweight: typeof delta.reweight = (...args) => {
        const weight = delta.reweight!(...args);
        return weight && poison(weight);
      };
      return { parameters: delta.parameters, reweight };
    },
  };
}

test.each([
  [
    0,
    /^step 0: the gradient of model\.layers\.1\.mlp\.up_proj\.weight is not finite \(1\d parameters above it have moved in this step already, and are not saved\)/,
  ],
  [1, /^step 0: the gradient norm is NaN/],
])(
  'a gradient that is not a number beside a finite loss ends the run and says what moved (clipNorm %d)',
  async (clipNorm, message) => {
    await expectNoTensorsLeft(async () => {
      const broken = train({ clipNorm, adapter: poisoned('model.layers.1.mlp.up_proj') });
      await expect(broken).rejects.toMatchObject({ code: 'loss-not-finite', message: expect.stringMatching(message) });
    });
  },
);
