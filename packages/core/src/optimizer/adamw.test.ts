import * as tf from '@tensorflow/tfjs-core';
import { expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { Parameter } from '../contracts/parameter.js';
import { type AdamWOptions, adamw } from './adamw.js';

beforeAll(() => useBackend('cpu'));

const parameter = (name: string, value = 1) => new Parameter(name, tf.tensor1d([value]));
const read = (p: Parameter) => p.variable.dataSync()[0]!;

function step(optimizer: ReturnType<typeof adamw>, parameters: readonly Parameter[], gradients: number[], rate = 0.1) {
  const updates = parameters.map((p, i) => ({ parameter: p, gradient: tf.tensor1d([gradients[i]!]) as tf.Tensor }));
  optimizer.step(updates, rate);
  for (const { gradient } of updates) gradient.dispose();
}

test('a parameter that is not given keeps its bits, its state and its step count', () => {
  const optimizer = adamw({ weightDecay: 0.1 });
  const [a, b] = [parameter('a'), parameter('b')];
  step(optimizer, [a, b], [0.5, 0.5]);
  const [before, state] = [read(b), optimizer.state([b])];
  const moments = [...state.tensors.values()].map((tensor) => tensor.dataSync()[0]);
  step(optimizer, [a], [0.5]);
  expect(read(b)).toBe(before);
  const after = optimizer.state([b]);
  expect([...after.tensors.values()].map((tensor) => tensor.dataSync()[0])).toEqual(moments);
  expect(optimizer.state().json).toEqual({ steps: { a: 2, b: 1 } });
  optimizer.dispose();
});

test('after forgetting, the next step is a first step', () => {
  const optimizer = adamw();
  const [a, fresh] = [parameter('a'), parameter('fresh')];
  for (const g of [0.5, -2, 0.3]) step(optimizer, [a], [g]);
  optimizer.forget([a]);
  expect(optimizer.state().tensors.size).toBe(0);
  a.variable.assign(tf.tensor1d([1]));
  step(optimizer, [a, fresh], [0.5, 0.5]);
  expect(read(a)).toBe(read(fresh));
  optimizer.dispose();
});

test('restored state gives the step that the original would have made', () => {
  const [one, two] = [adamw(), adamw()];
  const [a, b] = [parameter('p'), parameter('p')];
  step(one, [a], [0.5]);
  const { tensors, json } = one.state();
  two.restore({
    tensors: new Map([...tensors].map(([k, t]) => [k, t.clone()])),
    json: JSON.parse(JSON.stringify(json)),
  });
  b.variable.assign(a.variable.clone());
  step(one, [a], [-0.25]);
  step(two, [b], [-0.25]);
  expect(read(b)).toBe(read(a));
  one.dispose();
  two.dispose();
});

test('restoring names its parameters and touches no others', () => {
  const optimizer = adamw();
  const [a, b] = [parameter('a'), parameter('b')];
  step(optimizer, [a, b], [1, 1]);
  const saved = optimizer.state([a]);
  const copies = new Map([...saved.tensors].map(([k, t]) => [k, t.clone()]));
  step(optimizer, [a, b], [1, 1]);
  optimizer.restore({ tensors: copies, json: saved.json });
  expect(optimizer.state().json).toEqual({ steps: { a: 1, b: 2 } });
  optimizer.dispose();
});

test('the first group that matches sets decay and rate', () => {
  const options: AdamWOptions = {
    weightDecay: 0.5,
    groups: [
      { match: 'norm', weightDecay: 0 },
      { match: '^lora_B', learningRateFactor: 2 },
      { match: 'norm', weightDecay: 9 },
    ],
  };
  const optimizer = adamw(options);
  const parameters = [parameter('model.norm.weight'), parameter('lora_B'), parameter('w')];
  step(optimizer, parameters, [1, 1, 1]);
  // A first step moves by the rate, after the decay by rate·decay.
  [1 - 0.1, 1 - 0.2 * 0.5 - 0.2, 1 - 0.1 * 0.5 - 0.1].forEach((expected, i) => {
    expect(read(parameters[i]!)).toBeCloseTo(expected, 5);
  });
  optimizer.dispose();
});

test('it holds 8 bytes a value of what it has stepped, and frees all of it', async () => {
  await expectNoTensorsLeft(() => {
    const optimizer = adamw();
    const a = new Parameter('a', tf.zeros([3, 5]));
    expect(optimizer.bytes()).toBe(0);
    const gradient = tf.ones([3, 5]);
    optimizer.step([{ parameter: a, gradient }], 0.1);
    expect(optimizer.bytes()).toBe(8 * 15);
    gradient.dispose();
    optimizer.forget([a]);
    expect(optimizer.bytes()).toBe(0);
    optimizer.dispose();
    a.dispose();
  });
});

test.each<[AdamWOptions, RegExp]>([
  [{ learningRate: 0 }, /learningRate/],
  [{ beta1: 1 }, /beta1/],
  [{ weightDecay: -1 }, /weightDecay/],
  [{ groups: [{ match: '(' }] }, /groups/],
  [{ learningrate: 1 } as AdamWOptions, /did you mean "learningRate"/],
])('%j is refused by name', (options, message) => {
  expect(() => adamw(options)).toThrow(message);
  expect(() => adamw(options)).toThrow(expect.objectContaining({ code: 'options-invalid' }));
});
