import * as tf from '@tensorflow/tfjs-core';
import { expectClose, expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { type AdamWHyper, type AdamWSlot, adamwStep } from './adamw-step.js';

const TORCH: AdamWHyper = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, variant: 'torch' };
const variable = (values: number[]) => tf.tidy(() => tf.variable(tf.tensor1d(values), false));

interface State {
  p: number;
  m: number;
  v: number;
}

/** One parameter of one value through steps with these gradients. */
function steps(
  hyper: AdamWHyper,
  gradients: number[],
  { learningRate = 0.1, weightDecay = 0.01, firstStep = 1, p = 1 } = {},
): State[] {
  const slot = { parameter: variable([p]), m: variable([0]), v: variable([0]) };
  const states = gradients.map((value, i) => {
    const gradient = tf.tensor1d([value]);
    adamwStep([{ ...slot, gradient, step: firstStep + i, learningRate, weightDecay }], hyper);
    gradient.dispose();
    const [pNow, m, v] = [slot.parameter, slot.m, slot.v].map((tensor) => tensor.dataSync()[0]!);
    return { p: pNow!, m: m!, v: v! };
  });
  tf.dispose([slot.parameter, slot.m, slot.v]);
  return states;
}

/** The same in f64, line by line. */
function formula(hyper: AdamWHyper, gradients: number[], learningRate: number, weightDecay: number): number[] {
  const { beta1, beta2, epsilon, variant } = hyper;
  let [p, m, v] = [1, 0, 0];
  return gradients.map((g, i) => {
    const bc1 = 1 - beta1 ** (i + 1);
    const bc2 = 1 - beta2 ** (i + 1);
    if (variant === 'torch') p *= 1 - learningRate * weightDecay;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    if (variant === 'torch') p -= ((learningRate / bc1) * m) / (Math.sqrt(v) / Math.sqrt(bc2) + epsilon);
    else {
      p -= ((learningRate * Math.sqrt(bc2)) / bc1) * (m / (Math.sqrt(v) + epsilon));
      p -= learningRate * weightDecay * p;
    }
    return p;
  });
}

const GRADIENTS = [0.5, -0.25, 0.1];

describe.each(['cpu', 'wasm'])('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test('the three steps of torch.optim.AdamW', async () => {
    const states = await expectNoTensorsLeft(() => steps(TORCH, GRADIENTS));
    // f32: seven digits.
    expectClose(
      states.map(({ p }) => p),
      [0.899000002, 0.8714672987, 0.8390714757],
      2e-7,
    );
    expectClose(
      states.map(({ m }) => m),
      [0.05, 0.02, 0.028],
      1e-8,
    );
    expectClose(
      states.map(({ v }) => v),
      [0.00025, 0.00031225, 0.00032193775],
      1e-9,
    );
  });

  test.each(['torch', 'hf_legacy'] as const)('%s is its formula, with an epsilon that shows', (variant) => {
    const hyper: AdamWHyper = { ...TORCH, epsilon: 0.01, variant };
    const values = steps(hyper, GRADIENTS, { weightDecay: 0.1 }).map(({ p }) => p);
    expectClose(values, formula(hyper, GRADIENTS, 0.1, 0.1), 1e-6);
  });

  test('the two variants differ in where epsilon and the decay come', () => {
    const last = (variant: AdamWHyper['variant']) =>
      steps({ ...TORCH, epsilon: 0.01, variant }, GRADIENTS, { weightDecay: 0.1 }).at(-1)!.p;
    expect(Math.abs(last('torch') - last('hf_legacy'))).toBeGreaterThan(1e-3);
  });

  test('without decay a gradient of 0 from the start moves nothing', () => {
    expect(steps(TORCH, [0, 0], { weightDecay: 0 }).map(({ p }) => p)).toEqual([1, 1]);
  });

  test('every parameter has its own step count, rate and decay', () => {
    const alone = (index: number) =>
      index === 0
        ? steps(TORCH, [0.5], { firstStep: 1, learningRate: 0.1, weightDecay: 0 })[0]!.p
        : steps(TORCH, [0.5], { firstStep: 50, learningRate: 0.01, weightDecay: 0.2 })[0]!.p;
    const gradient = tf.tensor1d([0.5]);
    const make = (rest: Pick<AdamWSlot, 'step' | 'learningRate' | 'weightDecay'>): AdamWSlot => ({
      parameter: variable([1]),
      m: variable([0]),
      v: variable([0]),
      gradient,
      ...rest,
    });
    const slots = [
      make({ step: 1, learningRate: 0.1, weightDecay: 0 }),
      make({ step: 50, learningRate: 0.01, weightDecay: 0.2 }),
    ];
    adamwStep(slots, TORCH);
    expect(slots.map(({ parameter }) => parameter.dataSync()[0])).toEqual([alone(0), alone(1)]);
    // The first step's full bias correction moves by the whole rate.
    expect(slots[0]!.parameter.dataSync()[0]).toBeCloseTo(0.9, 6);
    tf.dispose([gradient, ...slots.flatMap(({ parameter, m, v }) => [parameter, m, v])]);
  });
});
