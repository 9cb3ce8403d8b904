import { ensureBackend, type Json, keyedRandom, type Optimizer, Parameter } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { parameterBits } from './parameter-bits.js';

export interface OptimizerLawOptions {
  /** Shapes of the parameters it is tried on. Default: two matrices and a vector. */
  readonly shapes?: readonly (readonly number[])[];
  /** Steps of a run. Default 5. */
  readonly steps?: number;
}

/**
 * The laws of an optimizer, as tests: call it at the top of a test file.
 * @param factory makes a new optimizer with the same options each time
 */
export function describeOptimizer(name: string, factory: () => Optimizer, options: OptimizerLawOptions = {}): void {
  const { shapes = [[6, 4], [4, 8], [5]], steps = 5 } = options;

  /** Values drawn by name: the same whenever they are asked for. */
  function drawn(shape: readonly number[], ...key: readonly (string | number)[]): tf.Tensor {
    const random = keyedRandom(0, 'optimizer-laws', ...key);
    const size = shape.reduce((product, length) => product * length, 1);
    return tf.tensor(
      Float32Array.from({ length: size }, () => random.normal()),
      [...shape],
    );
  }
  const make = () => shapes.map((shape, i) => new Parameter(`parameter.${i}`, drawn(shape, i)));

  /** One step, on gradients of this step, of the parameters with these indices. */
  function step(optimizer: Optimizer, parameters: readonly Parameter[], at: number, which?: readonly number[]): void {
    const moved = parameters.filter((_, i) => !which || which.includes(i));
    const updates = moved.map((parameter) => ({ parameter, gradient: drawn(parameter.shape, parameter.name, at) }));
    optimizer.step(updates, optimizer.learningRate);
    for (const { gradient } of updates) gradient.dispose();
  }

  function stateText(optimizer: Optimizer, parameters?: readonly Parameter[]): string {
    const { tensors, json } = optimizer.state(parameters);
    return JSON.stringify([[...tensors].map(([key, tensor]) => [key, [...tensor.dataSync()]]), json]);
  }

  /** The state as it comes back from a checkpoint. */
  function saved(
    optimizer: Optimizer,
    parameters?: readonly Parameter[],
  ): { tensors: Map<string, tf.Tensor>; json: Json } {
    const { tensors, json } = optimizer.state(parameters);
    const copies = [...tensors].map(
      ([key, tensor]) => [key, tf.tensor(tensor.dataSync().slice(), tensor.shape)] as const,
    );
    return { tensors: new Map(copies), json: JSON.parse(JSON.stringify(json)) as Json };
  }

  describe(`${name} as an optimizer`, () => {
    let parameters: Parameter[];
    let optimizer: Optimizer;
    let tensors = 0;
    beforeAll(() => ensureBackend());
    beforeEach(() => {
      tensors = tf.memory().numTensors;
      parameters = make();
      optimizer = factory();
    });
    afterEach(() => {
      for (const parameter of parameters) parameter.dispose();
      optimizer.dispose();
    });

    test('its options are JSON', () => {
      expect(JSON.parse(JSON.stringify(optimizer.options))).toEqual(optimizer.options);
    });

    test('a step moves every parameter that it is given', () => {
      const before = parameters.map((parameter) => parameterBits([parameter]));
      step(optimizer, parameters, 0);
      for (const [i, parameter] of parameters.entries()) expect(parameterBits([parameter])).not.toBe(before[i]);
    });

    test('parameters that it is not given keep their bits and their state', () => {
      step(optimizer, parameters, 0);
      const others = [parameters[0]!, parameters[2]!];
      const before = [parameterBits(others), stateText(optimizer, others)];
      step(optimizer, parameters, 1, [1]);
      expect([parameterBits(others), stateText(optimizer, others)]).toEqual(before);
    });

    test('a step in two calls, each with other parameters, is the step in one', () => {
      for (let t = 0; t < steps; t++) step(optimizer, parameters, t);
      const [other, again] = [factory(), make()];
      for (let t = 0; t < steps; t++) {
        step(other, again, t, [1, 2]);
        step(other, again, t, [0]);
      }
      expect([parameterBits(again), stateText(other)]).toEqual([parameterBits(parameters), stateText(optimizer)]);
      for (const each of [other, ...again]) each.dispose();
    });

    test('from its state after any step it goes on to the same bits', () => {
      for (let t = 0; t < steps; t++) step(optimizer, parameters, t, t % 2 ? [0, 1] : undefined);
      const expected = [parameterBits(parameters), stateText(optimizer)];
      for (let cut = 1; cut < steps; cut++) {
        const [first, second, again] = [factory(), factory(), make()];
        for (let t = 0; t < cut; t++) step(first, again, t, t % 2 ? [0, 1] : undefined);
        second.restore(saved(first));
        for (let t = cut; t < steps; t++) step(second, again, t, t % 2 ? [0, 1] : undefined);
        expect([parameterBits(again), stateText(second)]).toEqual(expected);
        for (const each of [first, second, ...again]) each.dispose();
      }
    });

    test('the state of some parameters comes back without touching that of others', () => {
      step(optimizer, parameters, 0);
      const one = [parameters[0]!];
      const [kept, before] = [saved(optimizer, one), stateText(optimizer, one)];
      step(optimizer, parameters, 1);
      const others = stateText(optimizer, parameters.slice(1));
      optimizer.restore(kept);
      expect(stateText(optimizer, one)).toBe(before);
      expect(stateText(optimizer, parameters.slice(1))).toBe(others);
    });

    test('after forget the next step is a first step', () => {
      step(optimizer, parameters, 0);
      step(optimizer, parameters, 1);
      optimizer.forget(parameters);
      expect(optimizer.state().tensors.size).toBe(0);
      const [fresh, again] = [
        factory(),
        parameters.map(({ name: each, variable }) => new Parameter(each, variable.clone())),
      ];
      step(fresh, again, 2);
      step(optimizer, parameters, 2);
      expect([parameterBits(parameters), stateText(optimizer)]).toEqual([parameterBits(again), stateText(fresh)]);
      for (const each of [fresh, ...again]) each.dispose();
    });

    test('forgetting some keeps the state of the others', () => {
      step(optimizer, parameters, 0);
      const others = stateText(optimizer, parameters.slice(1));
      optimizer.forget(parameters.slice(0, 1));
      expect(optimizer.state(parameters.slice(0, 1)).tensors.size).toBe(0);
      expect(stateText(optimizer)).toBe(others);
    });

    test('bytes is what its tensors take', () => {
      step(optimizer, parameters, 0);
      const held = [...optimizer.state().tensors.values()].reduce((sum, tensor) => sum + 4 * tensor.size, 0);
      expect(optimizer.bytes()).toBe(held);
    });

    test('as many tensors live after every step, and none after dispose', () => {
      const live = [0, 1, 2].map((t) => {
        step(optimizer, parameters, t);
        return tf.memory().numTensors;
      });
      expect(new Set(live).size).toBe(1);
      optimizer.dispose();
      expect(tf.memory().numTensors).toBe(tensors + parameters.length);
    });
  });
}
