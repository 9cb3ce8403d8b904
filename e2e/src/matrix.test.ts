import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readyPackage, useTensorFlow } from '@lft/backend-tensorflow';
import {
  type Adapter,
  adamw,
  type CausalModel,
  fineTune,
  fixed,
  full,
  type LayerSelector,
  loadModel,
  pin,
  schedule,
  type TrainingOptions,
  useBackend,
} from '@lft/core';
import { ila } from '@lft/ila';
import { ist } from '@lft/ist';
import { lisa } from '@lft/lisa';
import { lora } from '@lft/lora';
import { resumeTrials, type TinyModel, tinyData, tinyModel, Witness } from '@lft/testing';
import * as tf from '@tensorflow/tfjs-core';

/** Every adapter here with every selector here, end to end on a model of 5 blocks (IST's defaults need 4). */
const adapters = {
  full: () => full(),
  'lora q v': () => lora({ rank: 2, targets: ['q_proj', 'v_proj'] }),
  'lora all-linear': () => lora({ rank: 2, targets: 'all-linear', rsLora: true, dropout: 0.1 }),
  'lora with saved modules': () => lora({ rank: 2, modulesToSave: ['embed_tokens', 'lm_head', 'input_layernorm'] }),
} satisfies Record<string, () => Adapter>;

const quickIla = { warmup: 3, gateSteps: 2, examples: 3, batches: 1 };
const selectors = {
  'fixed all': () => fixed(),
  'fixed first': () => fixed({ first: 2 }),
  'fixed random': () => fixed({ random: 3, granularity: 'matrix' }),
  lisa: () => lisa({ interval: 2 }),
  ist: () => ist({ interval: 2 }),
  ila: () => ila(quickIla),
  'ila rank': () => ila({ ...quickIla, after: 'rank', score: 'taylor' }),
  'schedule of fixed and lisa': () =>
    schedule([{ until: 2, selector: fixed({ last: 1 }) }, { selector: lisa({ active: 1, interval: 1 }) }]),
  'ist with a pinned block': () => pin(ist({ interval: 2, variant: 'paper' }), ['model.layers.0']),
} satisfies Record<string, () => LayerSelector>;

type AdapterName = keyof typeof adapters;
type SelectorName = keyof typeof selectors;

const pairs = Object.keys(adapters).flatMap((adapter) =>
  Object.keys(selectors).map((selector) => [adapter as AdapterName, selector as SelectorName] as const),
);

const data = tinyData({ examples: 12, validation: 2 });
const training = { steps: 6, batchSize: 3, seed: 3, schedule: 'constant', maxLength: 12 } as const;

let folder: TinyModel;
let tied: TinyModel;
let model: CausalModel;
let tiedModel: CausalModel;
let temporary = '';

/** LFT_TEST_BACKEND names others, by commas. TensorFlow is there where LFT_TENSORFLOW says so. */
const backends = process.env.LFT_TEST_BACKEND?.split(',') ?? [
  process.env.LFT_BACKEND ?? 'wasm',
  ...(readyPackage() ? ['tensorflow'] : []),
];

beforeAll(async () => {
  folder = await tinyModel({ blocks: 5, width: 8, inner: 12 });
  tied = await tinyModel({ blocks: 5, width: 8, inner: 12, tied: true, bias: true, dtype: 'BF16' });
  model = await loadModel(folder.folder);
  tiedModel = await loadModel(tied.folder);
  temporary = mkdtempSync(path.join(tmpdir(), 'lft-matrix-'));
});
afterAll(async () => {
  await model.dispose();
  await tiedModel.dispose();
  await folder.dispose();
  await tied.dispose();
  rmSync(temporary, { recursive: true, force: true });
});

async function train(base: CausalModel, adapter: Adapter, selector: LayerSelector, more: TrainingOptions = {}) {
  const witness = new Witness(selector);
  const { optimizer, onProgress } = witness;
  const watched = { selector: witness.selector, optimizer, onProgress };
  const run = await fineTune({ model: base, data, adapter, ...watched, ...training, ...more });
  return { witness, run };
}

async function expectLawful(base: CausalModel, adapter: Adapter, selector: LayerSelector): Promise<void> {
  const before = tf.memory().numTensors;
  const { witness, run } = await train(base, adapter, selector);
  expect(run.losses.filter(Number.isFinite)).toHaveLength(training.steps);
  expect(witness.problems).toEqual([]);
  expect(new Set(witness.liveTensors).size).toBe(1);
  const saved = path.join(temporary, 'adapter');
  await run.save(saved);
  expect(readdirSync(saved).filter((name) => name.endsWith('.safetensors'))).toHaveLength(1);
  rmSync(saved, { recursive: true });
  run.dispose();
  expect(tf.memory().numTensors).toBe(before);
}

describe.each(backends)('on %s', (backend) => {
  beforeAll(async () => {
    await (backend === 'tensorflow' ? useTensorFlow() : useBackend(backend));
  });

  test.each(pairs)('%s × %s: trains what is selected and nothing else, leaks nothing, is saved', (adapter, selector) =>
    expectLawful(model, adapters[adapter](), selectors[selector]()),
  );

  test.each(['lisa', 'ist', 'ila', 'fixed random'] as const)(
    'full on a tied model in bf16 with biases × %s',
    (selector) => expectLawful(tiedModel, full(), selectors[selector]()),
  );

  test.each(Object.keys(adapters) as AdapterName[])(
    '%s: selecting every block is training without a selector',
    async (adapter) => {
      const results = [];
      for (const selector of [
        fixed(),
        lisa({ active: 5, interval: 2 }),
        ist({ active: 5, interval: 2, examples: 2 }),
      ]) {
        const { run } = await train(model, adapters[adapter](), selector);
        results.push([
          run.losses,
          run.evaluations,
          run.model.parameters.map(({ variable }) => [...variable.dataSync()]),
        ]);
        run.dispose();
      }
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    },
  );

  test.each(['lora all-linear', 'full'] as const)(
    '%s × lisa: offloaded state is kept state, and reset state is not',
    async (adapter) => {
      const losses = [];
      for (const optimizerState of ['reset', 'keep', 'offload'] as const) {
        const { run } = await train(model, adapters[adapter](), lisa({ active: 1, interval: 1 }), { optimizerState });
        losses.push(run.losses);
        run.dispose();
      }
      const [reset, keep, offload] = losses;
      expect(offload).toEqual(keep);
      expect(reset).not.toEqual(keep);
    },
  );

  test.each<[AdapterName, SelectorName, Omit<TrainingOptions, 'steps'>]>([
    ['full', 'lisa', { optimizerState: 'offload' }],
    ['full', 'ila', { optimizerState: 'offload', recompute: true }],
    ['full', 'schedule of fixed and lisa', { optimizerState: 'reset', gradientAccumulation: 2 }],
    ['lora q v', 'ist', { optimizerState: 'keep', evaluateEvery: 2 }],
    ['lora all-linear', 'ist with a pinned block', { optimizerState: 'reset', warmupSteps: 2, schedule: 'cosine' }],
    ['lora all-linear', 'ila', { optimizerState: 'keep' }],
    ['lora with saved modules', 'lisa', { optimizerState: 'reset', gradientAccumulation: 2 }],
    ['lora with saved modules', 'ila rank', { optimizerState: 'offload', evaluationExamples: 0 }],
  ])(
    '%s × %s with %j: a run that crashed or was interrupted goes on to the same bytes',
    async (adapter, selector, more) => {
      const { whole, trials } = await resumeTrials({
        model,
        data,
        plugins: () => ({
          adapter: adapters[adapter](),
          selector: selectors[selector](),
          optimizer: adamw({ learningRate: 1e-2 }),
        }),
        training: { ...training, ...more, checkpointEvery: 3 },
        // Before the first checkpoint, between two, and after the last step.
        crashEvery: 2,
      });
      for (const trial of trials) expect(trial).toEqual({ what: trial.what, record: whole.record });
    },
  );
});
