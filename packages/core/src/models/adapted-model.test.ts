import * as tf from '@tensorflow/tfjs-core';
import { BIASED, TIED } from '../__testing__/model-folder.js';
import { expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Adapter } from '../contracts/adapter.js';
import { Parameter } from '../contracts/parameter.js';
import { AdaptedModel } from './adapted-model.js';
import type { CausalModel } from './causal-model.js';
import { loadModel } from './load-model.js';

let base: CausalModel;
beforeAll(async () => {
  await useBackend('cpu');
  base = await loadModel(TIED);
});
afterAll(() => base.dispose());

/** A bias with random initial values at every query projection. */
function randomBias(): Adapter {
  return {
    name: 'random-bias',
    options: {},
    attach(site, init) {
      if (site.role !== 'q') return undefined;
      const random = init.random('bias');
      const values = Array.from({ length: site.out }, () => random.normal());
      const bias = new Parameter(`${site.path}.random`, tf.tensor1d(values));
      return { parameters: [bias], apply: (x, module, gate) => tf.add(module(x), tf.mul(bias.variable, gate)) };
    },
  };
}

const bits = (model: AdaptedModel) => model.parameters.map(({ variable }) => [...variable.dataSync()]);
const logits = (model: AdaptedModel, options?: Parameters<AdaptedModel['logits']>[1]) => {
  const tensor = model.logits([[1, 5, 9, 4]], options);
  const values = [...tensor.dataSync()];
  tensor.dispose();
  return values;
};

test.each([full, randomBias])('putting the parameters back gives their first bits', async (adapter) => {
  await expectNoTensorsLeft(() => {
    const model = new AdaptedModel(base, adapter(), { seed: 3 });
    const before = bits(model);
    for (const { variable } of model.parameters) tf.tidy(() => variable.assign(tf.add(variable, 1)));
    expect(bits(model)).not.toEqual(before);
    model.reinitialize();
    expect(bits(model)).toEqual(before);
    model.dispose();
  });
});

test('initial values depend on the seed and the site, and on nothing else', () => {
  const of = (seed: number) => {
    const model = new AdaptedModel(base, randomBias(), { seed });
    const values = bits(model);
    model.dispose();
    return values;
  };
  expect(of(1)).toEqual(of(1));
  expect(of(1)).not.toEqual(of(2));
  expect(of(1)[0]).not.toEqual(of(1)[1]);
});

test('a shut gate is the base model bit for bit', () => {
  const model = new AdaptedModel(base, randomBias());
  const gates = new Map(base.sites.map(({ path }) => [path, 0]));
  expect(logits(model)).not.toEqual(logits(new AdaptedModel(base)));
  expect(logits(model, { gates })).toEqual(logits(new AdaptedModel(base)));
  model.dispose();
});

test('full fine-tuning begins with the logits of the model, bias or none', async () => {
  const biased = await loadModel(BIASED);
  for (const each of [base, biased]) {
    const model = new AdaptedModel(each, full());
    const [a, b] = [logits(model), logits(new AdaptedModel(each))];
    // The products are written differently for a trained and a frozen weight; both are f32.
    a.forEach((value, i) => expect(Math.abs(value - b[i]!)).toBeLessThan(1e-5));
    model.dispose();
  }
  await biased.dispose();
});

test('documents in one row do not see each other, and positions begin anew', () => {
  const model = new AdaptedModel(base);
  const [one, two] = [[1, 5, 9], [7, 3]];
  tf.tidy(() => {
    const packed = model.logits([[...one, ...two]], { segments: Int32Array.from([0, 0, 0, 1, 1]) });
    const alone = tf.concat([model.logits([one]), model.logits([two])], 1);
    expect(tf.max(tf.abs(tf.sub(packed, alone))).dataSync()[0]).toBeLessThan(1e-5);
  });
});

test('logits leave no tensor behind', async () => {
  const model = new AdaptedModel(base);
  await expectNoTensorsLeft(() => logits(model));
});

test('two parameters of one name are refused', () => {
  const adapter: Adapter = {
    name: 'twice',
    options: {},
    attach: (site) => (site.role === 'q' ? { parameters: [new Parameter('same', tf.scalar(0))] } : undefined),
  };
  expect(() => new AdaptedModel(base, adapter)).toThrow(/adapter twice gave two parameters the same name/);
});

test('an adapter that does not make its parameters again is refused', () => {
  let calls = 0;
  const adapter: Adapter = {
    name: 'forgetful',
    options: {},
    attach: (site) =>
      site.role === 'head' ? { parameters: [new Parameter(`p${calls++}`, tf.scalar(0))] } : undefined,
  };
  const model = new AdaptedModel(base, adapter);
  expect(() => model.reinitialize()).toThrow(/forgetful did not make p0 again/);
});

test('a target that no module has is an error with the nearest one', () => {
  expect(() => new AdaptedModel(base, full({ targets: ['q_porj'] }))).toThrow(/no module is called "q_porj".*did you mean "q_proj"/);
});
