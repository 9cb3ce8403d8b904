import { type Delta, LftError, type ModuleSite, type Pass, useBackend } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { frozenWeight, initOf, llamaSites, modelInfo, TINY } from './__fixtures__/llama-sites.js';
import { type LoraOptions, lora, loraScale, loraSize } from './index.js';

const sites = llamaSites(TINY);
const find = (path: string) => sites.find((site) => site.path === path)!;
const q = find('model.layers.0.self_attn.q_proj');
const k = find('model.layers.0.self_attn.k_proj');
const embedding = find('model.embed_tokens');
const training: Pass = { training: true, seed: () => 7 };
const evaluation: Pass = { training: false, seed: () => 7 };

beforeAll(() => useBackend('cpu'));

function attach(site: ModuleSite, options: LoraOptions = {}, seed = 0): Delta {
  const adapter = lora({ rank: 4, ...options });
  adapter.prepare?.(sites, modelInfo(TINY));
  return adapter.attach(site, initOf(site, seed))!;
}

function values(delta: Delta, index: number): Float32Array {
  return delta.parameters[index]!.variable.dataSync() as Float32Array;
}

/** The frozen module. */
function baseOf(site: ModuleSite): (x: tf.Tensor) => tf.Tensor {
  const weight = frozenWeight(site) as tf.Tensor2D;
  return site.kind === 'embedding'
    ? (ids) => tf.gather(weight, ids as tf.Tensor1D)
    : (x) => tf.matMul(x as tf.Tensor2D, weight, false, true);
}

const inputOf = (site: ModuleSite): tf.Tensor =>
  site.kind === 'embedding' ? tf.tensor1d([3, 1, 3, 9], 'int32') : tf.randomNormal([3, site.in], 0, 1, 'float32', 5);

/** Sum of squares of the module's output: a loss to differentiate. */
function lossOf(site: ModuleSite, delta: Delta, gate: number | tf.Scalar = 1): () => tf.Scalar {
  const [x, base] = [inputOf(site), baseOf(site)];
  return () => tf.sum(tf.square(delta.apply!(x, base, gate, evaluation)));
}

function gradients(delta: Delta, loss: () => tf.Scalar): tf.Tensor[] {
  const variables = delta.parameters.map(({ variable }) => variable);
  return tf.engine().gradients(loss, variables).grads;
}

const SITES: [string, ModuleSite][] = [
  ['a linear module', q],
  ['a narrow linear module', k],
  ['an embedding', embedding],
];

describe('initial values', () => {
  test('A is uniform in ±1/√in, B is zero', () => {
    const site = { ...q, in: 400, out: 300 };
    const delta = attach(site, { rank: 4 });
    const [a, b] = [values(delta, 0), values(delta, 1)];
    const bound = 1 / Math.sqrt(400);
    expect(Math.max(...a)).toBeLessThanOrEqual(bound);
    expect(Math.min(...a)).toBeGreaterThanOrEqual(-bound);
    // Of 1600 draws the deviation is within 5 % of bound/√3.
    expect(deviation(a) / (bound / Math.sqrt(3))).toBeCloseTo(1, 1);
    expect(b.every((value) => value === 0)).toBe(true);
  });

  test('gaussian: A has the deviation 1/rank', () => {
    const delta = attach({ ...q, in: 400 }, { init: 'gaussian' });
    expect(deviation(values(delta, 0)) * 4).toBeCloseTo(1, 1);
    expect(values(delta, 1).every((value) => value === 0)).toBe(true);
  });

  test('random: B is uniform in ±1/√rank', () => {
    const b = values(attach(q, { init: 'random' }), 1);
    expect(Math.max(...b.map(Math.abs))).toBeLessThanOrEqual(0.5);
    expect(b.some((value) => value !== 0)).toBe(true);
  });

  test('embedding: A is zero, B is normal', () => {
    const delta = attach({ ...embedding, out: 400 }, { targets: ['embed_tokens'] });
    expect(values(delta, 0).every((value) => value === 0)).toBe(true);
    expect(deviation(values(delta, 1))).toBeCloseTo(1, 1);
  });

  test('the seed decides: the same gives the same values, another gives others', () => {
    expect(values(attach(q), 0)).toEqual(values(attach(q), 0));
    expect(values(attach(q), 0)).not.toEqual(values(attach(q, {}, 1), 0));
  });

  test('modules differ from each other', () => {
    expect(values(attach(q), 0)).not.toEqual(values(attach(find('model.layers.1.self_attn.q_proj')), 0));
  });

  test('parameters have the names and shapes of PEFT', () => {
    const named = (delta: Delta) => delta.parameters.map(({ name, shape }) => [name, shape]);
    expect(named(attach(k, { targets: ['k_proj'] }))).toEqual([
      ['model.layers.0.self_attn.k_proj.lora_A.weight', [4, 8]],
      ['model.layers.0.self_attn.k_proj.lora_B.weight', [4, 4]],
    ]);
    expect(named(attach(embedding, { targets: ['embed_tokens'] }))).toEqual([
      ['model.embed_tokens.lora_embedding_A', [4, 10]],
      ['model.embed_tokens.lora_embedding_B', [8, 4]],
    ]);
  });
});

describe.each(SITES)('%s', (_kind, site) => {
  const targets = [site.path];

  test('starts at the base model', () => {
    const x = inputOf(site);
    const y = attach(site, { targets }).apply!(x, baseOf(site), 1, training);
    expect(y.dataSync()).toEqual(baseOf(site)(x).dataSync());
  });

  test('gate 0 is the base model bit for bit, whatever was learned', () => {
    const delta = attach(site, { targets, init: 'random' });
    const x = inputOf(site);
    expect(delta.apply!(x, baseOf(site), 0, training).dataSync()).toEqual(baseOf(site)(x).dataSync());
  });

  test('the gate scales the update', () => {
    const delta = attach(site, { targets, init: 'random' });
    const [x, base] = [inputOf(site), baseOf(site)];
    const update = (gate: number | tf.Scalar) => tf.sub(delta.apply!(x, base, gate, evaluation), base(x));
    const third = tf.mul(update(1), 0.3);
    expectClose(update(0.3), third, 1e-5);
    expectClose(update(tf.scalar(0.3)), third, 1e-5);
  });

  test('merged computes what the adapter computes', () => {
    const delta = attach(site, { targets, init: 'random', rsLora: true });
    const x = inputOf(site);
    const merged = delta.merged!('weight', frozenWeight(site)) as tf.Tensor2D;
    const y =
      site.kind === 'embedding'
        ? tf.gather(merged, x as tf.Tensor1D)
        : tf.matMul(x as tf.Tensor2D, merged, false, true);
    expectClose(delta.apply!(x, baseOf(site), 1, evaluation), y, 1e-5);
  });

  test('a bias is not touched by merging', () => {
    const bias = tf.tensor1d([1, 2]);
    expect(attach(site, { targets }).merged!('bias', bias).dataSync()).toEqual(bias.dataSync());
  });

  test('at the first step one matrix moves: the other has a gradient of zero', () => {
    const delta = attach(site, { targets });
    const grads = gradients(delta, lossOf(site, delta));
    const norms = grads.map((gradient) => tf.norm(gradient).dataSync()[0]!);
    // Linear: B = 0, so dA = 0. Embedding: A = 0, so dB = 0.
    const [still, moving] = site.kind === 'embedding' ? [norms[1], norms[0]] : [norms[0], norms[1]];
    expect(still).toBe(0);
    expect(moving).toBeGreaterThan(0.1);
  });

  test('gradients are those of finite differences', () => {
    const delta = attach(site, { targets, init: 'random' });
    const loss = lossOf(site, delta);
    const grads = gradients(delta, loss);
    for (const [index, { variable }] of delta.parameters.entries()) {
      const gradient = grads[index]!.dataSync();
      const start = variable.dataSync().slice();
      const at = (i: number, step: number) => {
        const moved = start.slice();
        moved[i]! += step;
        variable.assign(tf.tensor(moved, variable.shape));
        return loss().dataSync()[0]!;
      };
      for (let i = 0; i < start.length; i += 5) {
        const slope = (at(i, 0.01) - at(i, -0.01)) / 0.02;
        // Losses of about 100 in f32 leave an error of 1e-5 / 0.02 in the slope; the loss is quadratic in each value.
        expect(Math.abs(slope - gradient[i]!)).toBeLessThan(0.02 + 2e-3 * Math.abs(slope));
      }
      variable.assign(tf.tensor(start, variable.shape));
    }
  });

  test('the gate has a gradient', () => {
    const delta = attach(site, { targets, init: 'random' });
    const loss = (gate: tf.Tensor) => lossOf(site, delta, gate as tf.Scalar)();
    const slope = (loss(tf.scalar(0.51)).dataSync()[0]! - loss(tf.scalar(0.49)).dataSync()[0]!) / 0.02;
    const gradient = tf.grad(loss)(tf.scalar(0.5)).dataSync()[0]!;
    expect(Math.abs(gradient - slope)).toBeLessThan(0.02 + 2e-3 * Math.abs(slope));
  });
});

describe('dropout', () => {
  const base = (input: tf.Tensor) => tf.zeros([input.shape[0]!, 8]);
  const output = (pass: Pass) =>
    attach(q, { dropout: 0.5, init: 'random' }).apply!(tf.ones([1, 8]), base, 1, pass).dataSync();

  test('acts in training, the same for the same seed', () => {
    expect(output(training)).not.toEqual(output(evaluation));
    expect(output(training)).toEqual(output(training));
    expect(output({ training: true, seed: () => 8 })).not.toEqual(output(training));
  });

  test('the base sees the whole input', () => {
    const x = tf.ones([1, 8]);
    const frozen = jest.fn(base);
    attach(q, { dropout: 0.9 }).apply!(x, frozen, 1, training);
    expect(frozen.mock.calls).toEqual([[x]]);
  });
});

describe('modules to save', () => {
  const options = { modulesToSave: ['lm_head'] };
  const head = find('lm_head');

  test('start as the frozen weight and are reweighted by the gate', () => {
    const delta = attach(head, options);
    const base = frozenWeight(head);
    expect(delta.parameters.map(({ name, shape }) => [name, shape])).toEqual([['lm_head.weight', [10, 8]]]);
    expect(delta.reweight!('weight', () => base, 1)).toBeUndefined();
    expect(delta.reweight!('weight', () => base, tf.scalar(0.5))!.dataSync()).toEqual(base.dataSync());
    const { variable } = delta.parameters[0]!;
    expect(delta.reweight!('weight', () => base, 1)!.dataSync()).toEqual(base.dataSync());
    expect(delta.reweight!('weight', () => base, 0)).toBeUndefined();
    expect(delta.reweight!('bias', () => base, 1)).toBeUndefined();
    variable.assign(tf.add(base, 2));
    expectClose(delta.reweight!('weight', () => base, 0.5)!, tf.add(base, 1), 1e-6);
    expect(delta.merged!('weight', base).dataSync()).toEqual(variable.dataSync());
  });

  test('a bias is trained with its weight', () => {
    const site = { ...head, bias: true };
    const adapter = lora({ rank: 4, ...options });
    const delta = adapter.attach(site, { ...initOf(site), bias: () => ({ shape: [10], make: () => tf.ones([10]) }) })!;
    expect(delta.parameters.map(({ name, variable }) => [name, variable.shape])).toEqual([
      ['lm_head.weight', [10, 8]],
      ['lm_head.bias', [10]],
    ]);
    expect(delta.reweight!('bias', () => tf.zeros([10]), 1)!.dataSync()).toEqual(tf.ones([10]).dataSync());
  });
});

describe('the number of trained values', () => {
  const llama7b = llamaSites({ blocks: 32, width: 4096, feedForward: 11008, keys: 4096, vocabulary: 32000 });

  test('rank 32 on q, k, v, up and down of LLaMA-7B is 56,098,816', () => {
    const targets = ['q_proj', 'k_proj', 'v_proj', 'up_proj', 'down_proj'];
    expect(loraSize({ rank: 32, targets }, llama7b)).toBe(56_098_816);
  });

  test('rank 8 on q and v of LLaMA-7B is 4,194,304', () => {
    expect(loraSize({}, llama7b)).toBe(4_194_304);
  });

  test('is that of the attached parameters', () => {
    const options: LoraOptions = {
      rank: 2,
      targets: ['embed_tokens', 'up_proj'],
      modulesToSave: ['lm_head', 'model.norm'],
      rankPattern: { up_proj: 3 },
    };
    const adapter = lora(options);
    const deltas = sites.map((site) => adapter.attach(site, initOf(site)));
    const size = deltas.flatMap((delta) => delta?.parameters ?? []).reduce((sum, p) => sum + p.size, 0);
    expect(size).toBe(loraSize(options, sites));
  });
});

test('the scale is alpha / rank, or alpha / √rank', () => {
  expect(loraScale({ rank: 16, alpha: 8, rsLora: false })).toBe(0.5);
  expect(loraScale({ rank: 16, alpha: 8, rsLora: true })).toBe(2);
});

test('options are plain JSON with the defaults filled in', () => {
  expect(lora().options).toEqual({
    rank: 8,
    alpha: 8,
    dropout: 0,
    rsLora: false,
    init: 'kaiming',
    targets: ['q_proj', 'v_proj'],
    rankPattern: {},
    alphaPattern: {},
    bias: 'none',
  });
});

test.each<[string, object, RegExp]>([
  ['a misspelt option', { rnak: 8 }, /unknown option "rnak": did you mean "rank"\?/],
  ['rank 0', { rank: 0 }, /rank is 1 or more/],
  ['a broken rank', { rank: 1.5 }, /rank is a whole number/],
  ['alpha 0', { alpha: 0 }, /alpha is more than 0/],
  ['dropout 1', { dropout: 1 }, /dropout is less than 1/],
  ['no targets', { targets: [] }, /targets: an empty list names nothing/],
  ['a broken expression', { targets: '(' }, /targets: not a regular expression/],
  [
    'targets of another type',
    { targets: 5 },
    /targets: a list of names or paths, "all-linear", or a regular expression/,
  ],
  ['a broken pattern', { rankPattern: { '(': 2 } }, /rankPattern: a key is not a regular expression/],
  ['trained biases', { bias: 'all' }, /only "none" is implemented/],
  ['blocks with an expression', { targets: '.*q_proj', blocks: [0] }, /blocks does not go with a regular expression/],
])('%s is refused', (_what, options, message) => {
  try {
    lora(options as LoraOptions);
  } catch (error) {
    expect(LftError.is(error) && error.code).toBe('options-invalid');
    expect((error as Error).message).toMatch(message);
    return;
  }
  throw new Error('it was accepted');
});

test('a forward pass leaves no tensor but its result', () => {
  const delta = attach(q, { dropout: 0.5, init: 'random' });
  const [x, base] = [inputOf(q), baseOf(q)];
  const before = tf.memory().numTensors;
  const y = tf.tidy(() => delta.apply!(x, base, 0.5, training));
  expect(tf.memory().numTensors).toBe(before + 1);
  y.dispose();
  delta.merged!('weight', frozenWeight(q)).dispose();
  expect(tf.memory().numTensors).toBe(before + 1); // the frozen weight made for this line
});

function deviation(sample: Float32Array): number {
  const mean = sample.reduce((sum, value) => sum + value, 0) / sample.length;
  return Math.sqrt(sample.reduce((sum, value) => sum + (value - mean) ** 2, 0) / sample.length);
}

function expectClose(actual: tf.Tensor, expected: tf.Tensor, tolerance: number): void {
  expect(actual.shape).toEqual(expected.shape);
  expect(tf.max(tf.abs(tf.sub(actual, expected))).dataSync()[0]).toBeLessThan(tolerance);
}
