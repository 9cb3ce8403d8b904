import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { removeFolders, TIED, temporaryFolder } from '../__testing__/model-folder.js';
import { choosing, examples, readLines, snapshot, source, valuesOf } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { adamw } from '../optimizer/adamw.js';
import { fixed } from '../selectors/fixed.js';
import { type FineTuneOptions, fineTune } from './fine-tune.js';

const STEPS = 5;
let model: CausalModel;
beforeAll(async () => {
  await useBackend('wasm');
  model = await loadModel(TIED);
});
afterAll(async () => {
  await model.dispose();
  removeFolders();
});

const newFolder = () => path.join(temporaryFolder(), 'run');

/** Two passes a step, evaluations between, a rate that changes with the step. */
const run = (options: Partial<FineTuneOptions>) =>
  fineTune({
    model,
    adapter: full(),
    optimizer: adamw({ learningRate: 1e-3, weightDecay: 0.1 }),
    data: source(examples(7), examples(2, 100)),
    batchSize: 2,
    gradientAccumulation: 2,
    steps: STEPS,
    warmupSteps: 1,
    evaluateEvery: 2,
    checkpointEvery: 0,
    ...options,
  });

/** Runs until `steps` steps are done, stopping as at Ctrl-C. */
async function interrupted(out: string, steps: number, options: Partial<FineTuneOptions>) {
  const controller = new AbortController();
  if (steps === 0) controller.abort();
  const result = await run({
    ...options,
    out,
    signal: controller.signal,
    onProgress: (event) => {
      if (event.kind === 'step' && event.step === steps - 1) controller.abort();
    },
  });
  expect(result.interrupted).toBe(true);
  expect(result.steps).toBe(steps);
  result.dispose();
}

/** All that must not depend on interruptions: parameters, and every file but the clock's. */
async function outcome(out: string, options: Partial<FineTuneOptions>) {
  const result = await run({ ...options, out });
  const { losses, evaluations } = result;
  const values = valuesOf(result);
  result.dispose();
  const files = snapshot(out);
  const kept = Object.entries(files).filter(
    ([name]) =>
      /^(metrics|importance)\.jsonl$|^importance\.json$|^config\.json$/.test(name) ||
      /step-000005\/.*safetensors$/.test(name),
  );
  return { losses, evaluations, values, files: Object.fromEntries(kept) };
}

const alternating = (): LayerSelector =>
  choosing((step) => (step % 2 === 0 ? ['model.layers.0', 'model.norm'] : ['model.layers.1']));

const KINDS: Record<string, () => Partial<FineTuneOptions>> = {
  'all units': () => ({ selector: fixed() }),
  'all units, blocks computed again': () => ({ selector: fixed(), recompute: true }),
  'a random choice of units': () => ({ selector: fixed({ random: 1 }) }),
  'the top block, on cached activations': () => ({
    selector: choosing(() => ['model.layers.1']),
    prefixCache: 1,
    batchSize: 4,
  }),
  'alternating units, state kept': () => ({ selector: alternating(), optimizerState: 'keep' }),
  'alternating units, state dropped': () => ({ selector: alternating(), optimizerState: 'reset' }),
  'alternating units, state on disk': () => ({ selector: alternating(), optimizerState: 'offload' }),
};

describe.each(Object.entries(KINDS))('%s', (kind, options) => {
  let whole: Awaited<ReturnType<typeof outcome>>;
  beforeAll(async () => {
    whole = await outcome(newFolder(), options());
  });

  // Every step where most is switched and saved, two elsewhere.
  const interruptions = /^all units$|on disk/.test(kind) ? [0, 1, 2, 3, 4] : [1, 4];
  test.each(interruptions)(
    'a run that is interrupted after step %i and resumed gives the same bytes',
    async (steps) => {
      const out = newFolder();
      await interrupted(out, steps, options());
      expect(await outcome(out, { ...options(), resume: true })).toEqual(whole);
    },
  );
});

test('several interruptions give the same bytes as none', async () => {
  const options = KINDS['alternating units, state on disk']!;
  const out = newFolder();
  await interrupted(out, 1, options());
  await interrupted(out, 2, { ...options(), resume: true });
  await interrupted(out, 4, { ...options(), resume: true });
  expect(await outcome(out, { ...options(), resume: true })).toEqual(await outcome(newFolder(), options()));
});

test('a run that died goes on from its newest checkpoint, and what was logged after it is cut off', async () => {
  const options = { ...KINDS['alternating units, state kept']!(), checkpointEvery: 2 };
  const out = newFolder();
  const died = new Error('the process died');
  const dying = {
    ...options,
    out,
    onProgress: (event: { kind: string; step: number }) => {
      if (event.kind === 'step' && event.step === 3) throw died;
    },
  };
  await expect(run(dying)).rejects.toBe(died);
  expect(readLines(out, 'metrics.jsonl').at(-1)!.step).toBe(3);
  const whole = await outcome(newFolder(), { ...options, selector: alternating() });
  expect(await outcome(out, { ...options, selector: alternating(), resume: true })).toEqual(whole);
});

test('a run that died before its first checkpoint begins again, without what it left behind', async () => {
  const options = () => KINDS['alternating units, state on disk']!();
  const out = newFolder();
  const dying = {
    ...options(),
    out,
    onProgress: (event: { kind: string; step: number }) => {
      if (event.kind === 'step' && event.step === 3) throw new Error('the process died');
    },
  };
  await expect(run(dying)).rejects.toThrow('the process died');
  expect(await outcome(out, { ...options(), resume: true })).toEqual(await outcome(newFolder(), options()));
});

test.each([
  ['with', [0, 1]],
  ['without', []],
] as const)('resuming a finished run %s held-out examples changes no byte', async (_, held) => {
  let probes = 0;
  const probing = () =>
    choosing(() => ['model.layers.0'], {
      async probe() {
        probes += 1;
      },
    });
  const options = () => ({
    selector: probing(),
    data: source(
      examples(7),
      held.map((i) => examples(1, 100 + i)[0]!),
    ),
  });
  const out = newFolder();
  const first = await run({ ...options(), out });
  first.dispose();
  const [before, made] = [snapshot(out), probes];
  const again = await run({ ...options(), out, resume: true });
  expect(again).toMatchObject({
    steps: STEPS,
    interrupted: false,
    losses: first.losses,
    evaluations: first.evaluations,
  });
  again.dispose();
  expect(snapshot(out)).toEqual(before);
  expect(probes).toBe(made);
});

test('the newest checkpoints stay, and no half-written one', async () => {
  const out = newFolder();
  (await run({ out, checkpointEvery: 1, keepCheckpoints: 3 })).dispose();
  const folders = new Set(Object.keys(snapshot(path.join(out, 'checkpoints'))).map((file) => file.split('/')[0]));
  expect([...folders]).toEqual(['step-000003', 'step-000004', 'step-000005']);
});

describe('resuming with other options', () => {
  let out: string;
  beforeAll(async () => {
    out = newFolder();
    await interrupted(out, 2, {});
  });

  test.each<[string, Partial<FineTuneOptions>, RegExp]>([
    ['batch size', { batchSize: 4 }, /training\.batchSize was 2 and is 4/],
    ['seed', { seed: 1 }, /training\.seed was 0 and is 1/],
    ['steps', { steps: 9 }, /training\.steps was 5 and is 9/],
    [
      'learning rate',
      { optimizer: adamw({ learningRate: 1, weightDecay: 0.1 }) },
      /optimizer\.options\.learningRate was 0\.001 and is 1/,
    ],
    ['targets', { adapter: full({ targets: ['q_proj'] }) }, /adapter\.options\.targets/],
    ['selector', { selector: fixed({ first: 1 }) }, /selector\.options\.first was absent and is 1/],
    [
      'data',
      {
        data: {
          ...source(examples(7)),
          prepare: async () => ({ train: examples(7), validation: [], fingerprint: 'others', description: '' }),
        },
      },
      /data\.fingerprint was "examples" and is "others"/,
    ],
  ])('of %s is refused by name, and the run stays as it was', async (_, options, message) => {
    const before = snapshot(out);
    await expect(run({ ...options, out, resume: true })).rejects.toMatchObject({
      code: 'resume-mismatch',
      message: expect.stringMatching(message),
    });
    expect(snapshot(out)).toEqual(before);
  });

  test('of how often to save is allowed', async () => {
    const result = await run({ out, resume: true, checkpointEvery: 1, keepCheckpoints: 5 });
    expect(result.steps).toBe(STEPS);
    result.dispose();
  });
});

test.each(['state.json', 'parameters.safetensors', 'optimizer.safetensors'])(
  'a checkpoint whose %s is cut off is refused by name, and the one before it can be gone on from',
  async (name) => {
    const out = newFolder();
    const options = { checkpointEvery: 1 };
    await interrupted(out, 3, options);
    const newest = path.join(out, 'checkpoints/step-000003');
    writeFileSync(path.join(newest, name), '{');
    const error = await run({ ...options, out, resume: true }).then(
      () => undefined,
      (cause) => cause,
    );
    expect(error).toMatchObject({ name: 'LftError', message: expect.stringContaining(path.join(newest, name)) });
    rmSync(newest, { recursive: true });
    expect(await outcome(out, { ...options, resume: true })).toEqual(await outcome(newFolder(), options));
  },
);
