import * as tf from '@tensorflow/tfjs-core';
import { differentiate } from '../autodiff/differentiate.js';
import { useBackend } from '../backend/use-backend.js';
import { keyedRandom } from '../random/keyed-random.js';

/** What the laws of an op are checked on. */
export interface OpCase {
  /** Shapes of the f32 inputs that are differentiated; their values are standard normal, or `values` of a normal draw. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** Maps the normal draws, e.g. away from a kink or into a domain. */
  readonly values?: (draw: number) => number;
  /** The op, on tensors by input name. */
  run(inputs: Record<string, tf.Tensor>): tf.Tensor;
  /** The same in plain JavaScript (f64), on flat row-major arrays. Left out where the rule alone is looked at. */
  reference?(inputs: Record<string, readonly number[]>): readonly number[];
}

/**
 * The step of central differences. With values of order 1, an f32 result errs by about 1e-7·√n, so a difference over 2·1e-2 by 1e-5·√n;
 * the curvature adds eps²/6·f‴ ≈ 2e-5·f‴. Both stay below TOLERANCE for the shapes here.
 */
const EPSILON = 1e-2;
const TOLERANCE = 3e-3;

export function draws(seed: string, shape: readonly number[]): number[] {
  const random = keyedRandom(7, seed);
  const size = shape.reduce((product, length) => product * length, 1);
  return Array.from({ length: size }, () => Math.fround(random.normal()));
}

/** @param within absolute for values up to 1, relative beyond */
export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, within: number): void {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!) / Math.max(1, Math.abs(expected[i]!));
    if (!(error <= within)) throw new Error(`at ${i}: ${actual[i]} is not within ${within} of ${expected[i]}`);
  }
}

/** Runs work and checks that it leaves as many tensors as it found. */
export async function expectNoTensorsLeft<T>(work: () => T | Promise<T>): Promise<T> {
  const before = tf.memory().numTensors;
  const result = await work();
  expect(tf.memory().numTensors).toBe(before);
  return result;
}

type Values = Record<string, readonly number[]>;

/** The result's values, and the gradients of Σ w∘y with fixed weights w, for the named inputs. */
function evaluate(op: OpCase, values: Values, wanted: readonly string[]): { y: number[]; gradients: Values } {
  const names = Object.keys(op.inputs);
  const tensors = names.map((name) => tf.tensor([...values[name]!], [...op.inputs[name]!], 'float32'));
  const byName = Object.fromEntries(names.map((name, i) => [name, tensors[i]!]));
  const y = tf.tidy(() => Array.from(op.run(byName).dataSync()));
  const weights = draws('weights', [y.length]);
  const gradients: Values = {};
  if (wanted.length > 0) {
    const sources = wanted.map((name) => byName[name]!);
    const one = tf.scalar(1);
    const value = differentiate(
      () => {
        const result = op.run(byName);
        return tf.sum(tf.mul(result, tf.tensor(weights, result.shape)));
      },
      sources,
      one,
      (i, gradient) => {
        const name = wanted[i]!;
        expect(gradient.shape).toEqual(op.inputs[name]);
        gradients[name] = Array.from(gradient.dataSync());
        gradient.dispose();
      },
    );
    tf.dispose([one, value]);
  }
  tf.dispose(tensors);
  return { y, gradients };
}

/** Tests of an op: value, gradient, backends, ownership. */
export function opLaws(name: string, op: OpCase): void {
  const names = Object.keys(op.inputs);
  const map = op.values ?? ((draw: number) => draw);
  const values: Values = Object.fromEntries(names.map((input) => [input, draws(input, op.inputs[input]!).map(map)]));

  describe(name, () => {
    if (op.reference) {
      const expected = op.reference(values);
      test.each(['cpu', 'wasm'])('is the formula to 1e-5 on %s', async (backend) => {
        await useBackend(backend);
        expectClose(evaluate(op, values, []).y, expected, 1e-5);
      });
    }

    test('its gradients are the central differences', async () => {
      await useBackend('cpu');
      const { y, gradients } = evaluate(op, values, names);
      const weights = draws('weights', [y.length]);
      // Summed in f64, so that the op alone rounds.
      const objective = (input: string, i: number, shift: number) => {
        const shifted = values[input]!.map((value, k) => (k === i ? Math.fround(value + shift) : value));
        const result = evaluate(op, { ...values, [input]: shifted }, []).y;
        return { sum: result.reduce((sum, value, k) => sum + value * weights[k]!, 0), at: shifted[i]! };
      };
      for (const input of names) {
        const differences = values[input]!.map((_, i) => {
          const [up, down] = [objective(input, i, EPSILON), objective(input, i, -EPSILON)];
          return (up.sum - down.sum) / (up.at - down.at);
        });
        expectClose(gradients[input]!, differences, TOLERANCE);
      }
    });

    test('wasm gives the gradients of cpu to 1e-5', async () => {
      await useBackend('cpu');
      const cpu = evaluate(op, values, names);
      await useBackend('wasm');
      const wasm = evaluate(op, values, names);
      expectClose(wasm.y, cpu.y, 1e-5);
      for (const input of names) expectClose(wasm.gradients[input]!, cpu.gradients[input]!, 1e-5);
    });

    test.each(['cpu', 'wasm'])('leaves no tensor on %s, whichever inputs are differentiated', async (backend) => {
      await useBackend(backend);
      const all = evaluate(op, values, names).gradients;
      for (const wanted of [[], names, ...names.map((input) => [input])]) {
        await expectNoTensorsLeft(() => {
          const { gradients } = evaluate(op, values, wanted);
          for (const input of wanted) expectClose(gradients[input]!, all[input]!, 1e-6);
        });
      }
    });
  });
}
