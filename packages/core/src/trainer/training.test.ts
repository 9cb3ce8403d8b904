import { writeFileSync } from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { removeFolders, TIED, temporaryFolder } from '../__testing__/model-folder.js';
import { expectClose, expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { choosing, example, examples, readLines, snapshot, source, valuesOf } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Optimizer } from '../contracts/optimizer.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { readImportance } from '../selectors/importance-file.js';
import { type FineTuneOptions, fineTune } from './fine-tune.js';

let model: CausalModel;
beforeAll(async () => {
  await useBackend('wasm');
  model = await loadModel(TIED);
});
afterAll(async () => {
  await model.dispose();
  removeFolders();
});

/** Plain gradient descent that keeps what it was given. A step may come in several calls: it ends when a parameter comes again. */
function recording(): Optimizer & { readonly gradients: Record<string, number[]>[]; readonly rates: number[] } {
  const gradients: Record<string, number[]>[] = [];
  const rates: number[] = [];
  return {
    name: 'recording',
    options: {},
    learningRate: 0.01,
    gradients,
    rates,
    step(updates, rate) {
      if (gradients.length === 0 || updates.some(({ parameter }) => parameter.name in gradients.at(-1)!)) {
        rates.push(rate);
        gradients.push({});
      }
      for (const { parameter, gradient } of updates) gradients.at(-1)![parameter.name] = [...gradient.dataSync()];
      for (const { parameter, gradient } of updates)
        tf.tidy(() => parameter.variable.assign(tf.sub(parameter.variable, tf.mul(gradient, rate))));
    },
    forget() {},
    state: () => ({ tensors: new Map(), json: null }),
    restore() {},
    bytes: () => 0,
    dispose() {},
  };
}

const run = (options: Partial<FineTuneOptions> = {}) =>
  fineTune({
    model,
    adapter: full(),
    data: source(examples(12)),
    batchSize: 6,
    steps: 3,
    schedule: 'constant',
    clipNorm: 0,
    ...options,
  });

/** To 1e-5 of the largest value of each parameter. */
function expectSame(a: Record<string, number[]>, b: Record<string, number[]>): void {
  expect(Object.keys(a).sort()).toEqual(Object.keys(b).sort());
  for (const [name, values] of Object.entries(a)) {
    const largest = Math.max(...b[name]!.map(Math.abs), 1e-6);
    expectClose(
      values.map((value) => value / largest),
      b[name]!.map((value) => value / largest),
      1e-5,
    );
  }
}

test('accumulated passes over rows of uneven lengths are one large batch', async () => {
  const seen = [];
  for (const [batchSize, gradientAccumulation] of [
    [6, 1],
    [2, 3],
    [1, 6],
  ] as const) {
    const optimizer = recording();
    const result = await run({ batchSize, gradientAccumulation, optimizer });
    seen.push({ optimizer, losses: result.losses, values: valuesOf(result) });
    result.dispose();
  }
  const [large, ...others] = seen;
  for (const { optimizer, losses, values } of others) {
    expectClose(losses, large!.losses, 1e-5);
    for (const [step, gradients] of optimizer.gradients.entries())
      expectSame(gradients, large!.optimizer.gradients[step]!);
    expectSame(values, large!.values);
  }
});

test('a pass without any label adds nothing to the step', async () => {
  const masked = example(50, 6, 6);
  const [one, two] = [recording(), recording()];
  const labelled = examples(1);
  const a = await run({
    data: source([...labelled, masked]),
    batchSize: 1,
    gradientAccumulation: 2,
    steps: 1,
    optimizer: one,
  });
  const b = await run({ data: source(labelled), batchSize: 1, steps: 1, optimizer: two });
  expectSame(one.gradients[0]!, two.gradients[0]!);
  expectClose(a.losses, b.losses, 1e-6);
  a.dispose();
  b.dispose();
});

test('the logged norm is that of the mean gradient, and clipping scales by max/(norm + 1e-6)', async () => {
  const norms: number[] = [];
  const optimizers = [0, 0.5, 1e6].map(() => recording());
  for (const [i, clipNorm] of [0, 0.5, 1e6].entries()) {
    const out = path.join(temporaryFolder(), 'run');
    (await run({ clipNorm, steps: 1, optimizer: optimizers[i]!, out })).dispose();
    norms.push(readLines(out, 'metrics.jsonl')[0]!.gradientNorm as number);
  }
  const free = optimizers[0]!.gradients[0]!;
  const norm = Math.sqrt(
    Object.values(free)
      .flat()
      .reduce((sum, g) => sum + g * g, 0),
  );
  expect(norm).toBeGreaterThan(0.5);
  // The norm is logged before clipping.
  expectClose(norms, [norm, norm, norm], 1e-5);
  const factor = 0.5 / (norm + 1e-6);
  expectSame(
    optimizers[1]!.gradients[0]!,
    Object.fromEntries(Object.entries(free).map(([name, g]) => [name, g.map((x) => x * factor)])),
  );
  expectSame(optimizers[2]!.gradients[0]!, free);
});

test('the rate follows the schedule over the steps, and is 0 in the first step of a warmup', async () => {
  const optimizer = recording();
  (await run({ optimizer, schedule: 'linear', warmupSteps: 2, steps: 6 })).dispose();
  expectClose(optimizer.rates, [0, 0.005, 0.01, 0.0075, 0.005, 0.0025], 1e-12);
});

test('epochs count passes over the examples', async () => {
  // 12 examples in steps of 5: three steps an epoch, the last one running over into the next.
  const result = await run({ steps: undefined as never, epochs: 2, batchSize: 5 });
  expect(result.steps).toBe(6);
  result.dispose();
});

test('only the chosen units change, and together they are all that changed', async () => {
  const before = await run({ steps: 1, optimizer: { ...recording(), step() {} } });
  const initial = valuesOf(before);
  before.dispose();
  const result = await run({ selector: choosing((step) => (step === 1 ? ['model.norm'] : ['model.layers.1'])) });
  const after = valuesOf(result);
  const changed = Object.keys(after).filter((name) => String(after[name]) !== String(initial[name]));
  expect(changed).toEqual(Object.keys(after).filter((name) => /^model\.(layers\.1|norm)\b/.test(name)));
  result.dispose();
});

test('without held-out examples nothing is evaluated', async () => {
  const result = await run({ evaluateEvery: 1 });
  expect(result.evaluations).toEqual([]);
  expect(result.losses).toHaveLength(3);
  result.dispose();
});

test('held-out examples are measured before, between and after', async () => {
  const result = await run({ data: source(examples(12), examples(4, 100)), evaluateEvery: 2, steps: 5 });
  expect(result.evaluations.map(({ step }) => step)).toEqual([0, 2, 4, 5]);
  result.dispose();
});

test('the ranking is written with the seed of the run', async () => {
  const out = path.join(temporaryFolder(), 'run');
  (await run({ seed: 41, out, selector: choosing(() => ['model.layers.0']) })).dispose();
  expect(readImportance(path.join(out, 'importance.json'))).toMatchObject({ method: 'choosing' });
  expect(JSON.parse(snapshot(out)['importance.json']!).seed).toBe(41);
});

test.each(['wasm', 'cpu'])('step n leaves as many tensors as step n + 1, and the run none, on %s', async (backend) => {
  await useBackend(backend);
  const counts: number[] = [];
  await expectNoTensorsLeft(async () => {
    const result = await run({
      steps: 5,
      gradientAccumulation: 2,
      batchSize: 2,
      data: source(examples(12), examples(2, 100)),
      onProgress: (event) => event.kind === 'step' && counts.push(tf.memory().numTensors),
    });
    result.dispose();
  });
  expect(new Set(counts).size).toBe(1);
  await useBackend('wasm');
});

describe('what cannot be trained is an error that says why', () => {
  const [good] = [examples(4)];
  const broken = (change: Partial<ReturnType<typeof example>>) => source([...good, { ...example(9, 5), ...change }]);
  test.each<[string, () => Partial<FineTuneOptions>, string, RegExp]>([
    ['no example', () => ({ data: source([]) }), 'data-empty', /no training example in some examples/],
    [
      'every label masked',
      () => ({ data: source([example(0, 5, 5), example(1, 7, 7)]) }),
      'labels-masked',
      /step 0: no token of the batch has a label/,
    ],
    [
      'an example beyond the context',
      () => ({ data: source([...good, example(0, 65)]) }),
      'example-too-long',
      /65 tokens, and the model's context is 64/,
    ],
    [
      'a held-out example beyond the context',
      () => ({ data: source(good, [example(0, 65)]) }),
      'example-too-long',
      /65 tokens/,
    ],
    [
      'a token id beyond the vocabulary',
      () => ({ data: broken({ ids: Int32Array.from([1, 96, 2, 3, 4]) }) }),
      'vocabulary-mismatch',
      /token id 96, and the model has 96 tokens \(0 to 95\)/,
    ],
    [
      'a negative token id',
      () => ({ data: broken({ ids: Int32Array.from([1, -1, 2, 3, 4]) }) }),
      'vocabulary-mismatch',
      /token id -1/,
    ],
    [
      'fewer labels than ids',
      () => ({ data: broken({ labels: Int32Array.from([1]) }) }),
      'data-invalid',
      /1 labels for 5 tokens/,
    ],
    [
      'a label that is not a token',
      () => ({ data: broken({ labels: Int32Array.from([1, 2, 3, 4, 96]) }) }),
      'data-invalid',
      /the label 96/,
    ],
    ['masked held-out examples', () => ({ data: source(good, [example(0, 5, 5)]) }), 'labels-masked', /held-out/],
    [
      'an unknown unit',
      () => ({ selector: choosing(() => ['model.layer.1']) }),
      'selector-units',
      /selector choosing chose unit "model\.layer\.1" in step 0.*it has "model\.layers\.1"/,
    ],
    [
      'no unit',
      () => ({ selector: choosing(() => []) }),
      'selector-units',
      /selector choosing chose no unit in step 0: nothing would train/,
    ],
    [
      'an adapter that attaches nothing',
      () => ({ adapter: { name: 'idle', options: {}, attach: () => undefined } }),
      'target-not-found',
      /adapter idle attached nothing/,
    ],
    ['an unknown target', () => ({ adapter: full({ targets: ['w_proj'] }) }), 'target-not-found', /did you mean/],
    [
      'a row limit beyond the context',
      () => ({ maxLength: 65 }),
      'options-invalid',
      /maxLength 65 is longer than the model's context of 64/,
    ],
    ['a misspelt option', () => ({ batchsize: 3 }) as never, 'options-invalid', /did you mean "batchSize"/],
    ['resume without a folder', () => ({ resume: true }), 'options-invalid', /set out/],
  ])('%s', async (_, options, code, message) => {
    await expectNoTensorsLeft(async () => {
      const error = await run(options()).then(
        () => undefined,
        (cause) => cause,
      );
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    });
  });
});

describe('the folder of a run', () => {
  test('that holds a run already is left as it is', async () => {
    const out = path.join(temporaryFolder(), 'run');
    (await run({ out, steps: 1 })).dispose();
    const before = snapshot(out);
    await expect(run({ out, steps: 1 })).rejects.toMatchObject({
      code: 'output-not-writable',
      message: expect.stringMatching(/holds a run already: go on with it/),
    });
    expect(snapshot(out)).toEqual(before);
  });

  test('below a file cannot be made, and the error says so', async () => {
    const file = path.join(temporaryFolder(), 'file');
    writeFileSync(file, 'x');
    await expect(run({ out: path.join(file, 'run') })).rejects.toMatchObject({
      code: 'output-not-writable',
      message: expect.stringMatching(/a part of its path is a file/),
    });
  });

  test('without a run cannot be resumed', async () => {
    await expect(run({ out: temporaryFolder(), resume: true })).rejects.toMatchObject({ code: 'checkpoint-invalid' });
  });
});
