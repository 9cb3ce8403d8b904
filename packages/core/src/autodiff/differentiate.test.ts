import * as tf from '@tensorflow/tfjs-core';
import { useBackend } from '../backend/use-backend.js';
import { differentiate } from './differentiate.js';

beforeAll(() => useBackend('cpu'));

/** A graph with a tensor used twice, one used in two places far apart, and a part that depends on no source. */
function graph(a: tf.Tensor, b: tf.Tensor, c: tf.Tensor): tf.Tensor {
  const apart = tf.exp(c);
  const first = tf.tanh(tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D));
  const second = tf.mul(tf.add(first, first), apart);
  return tf.sum(tf.mul(tf.sigmoid(second), tf.matMul(first as tf.Tensor2D, b as tf.Tensor2D)));
}
const values = (n: number) => Float32Array.from({ length: n * n }, (_, i) => Math.sin(i * 1.7 + n));
const square = (n = 3) => tf.tensor2d(values(n), [n, n]);

test('the same value and gradients as the tensor library, and no tensor left', () => {
  const before = tf.memory().numTensors;
  tf.tidy(() => {
    const [a, b, c] = [square(), square(), square()];
    const dy = tf.scalar(0.5);
    const theirs = tf.engine().gradients(() => graph(a, b, c), [a, b], dy);
    const alive = tf.memory().numTensors;
    const ours: tf.Tensor[] = [];
    const value = differentiate(
      () => graph(a, b, c),
      [a, b],
      dy,
      (i, gradient) => {
        ours[i] = gradient;
      },
    );
    expect(tf.memory().numTensors - alive).toBe(3);
    expect(value.dataSync()).toEqual(theirs.value.dataSync());
    theirs.grads.forEach((gradient, i) => {
      expect(ours[i]!.dataSync()).toEqual(gradient.dataSync());
    });
  });
  expect(tf.memory().numTensors).toBe(before);
});

test('a gradient is handed over when it is whole, with little else alive', () => {
  tf.tidy(() => {
    const layers = Array.from({ length: 6 }, () => tf.variable(square()));
    const x = square();
    const run = () =>
      tf.sum(layers.reduce<tf.Tensor>((y, w) => tf.tanh(tf.matMul(y as tf.Tensor2D, w as tf.Tensor2D)), x));
    const alive = tf.memory().numTensors;
    const seen: [number, number][] = [];
    differentiate(run, layers, tf.scalar(1), (index, gradient) => {
      gradient.dispose();
      seen.push([index, tf.memory().numTensors - alive]);
    });
    expect(seen.map(([index]) => index)).toEqual([5, 4, 3, 2, 1, 0]);
    // What the tape keeps shrinks with every layer that is done.
    const counts = seen.map(([, count]) => count);
    expect(counts.every((count, i) => i === 0 || count < counts[i - 1]!)).toBe(true);
  });
});

test('a source that the value does not depend on has none', () => {
  tf.tidy(() => {
    const [a, b] = [square(), square()];
    const take = jest.fn();
    differentiate(() => tf.sum(tf.square(a)), [b], tf.scalar(1), take);
    expect(take).not.toHaveBeenCalled();
  });
});

test('the gradient of the value stays the caller’s', () => {
  tf.tidy(() => {
    const a = square();
    const dy = square();
    differentiate(
      () => tf.add(a, tf.scalar(0)),
      [a],
      dy,
      (_, gradient) => {
        expect(gradient).not.toBe(dy);
        expect(gradient.dataSync()).toEqual(dy.dataSync());
      },
    );
    expect.assertions(3);
    expect(dy.isDisposed).toBe(false);
  });
});

test('an error in the function leaves no tape behind', () => {
  const before = tf.memory().numTensors;
  tf.tidy(() => {
    const a = square();
    const failing = () => {
      tf.tanh(a);
      throw new Error('broken');
    };
    const take = jest.fn();
    expect(() => differentiate(failing, [a], tf.scalar(1), take)).toThrow('broken');
    differentiate(() => tf.sum(a), [a], tf.scalar(1), take);
    expect(take).toHaveBeenCalledTimes(1);
  });
  expect(tf.memory().numTensors).toBe(before);
});
