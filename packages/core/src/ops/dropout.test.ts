import * as tf from '@tensorflow/tfjs-core';
import { expectNoTensorsLeft, opLaws } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { dropout } from './dropout.js';

opLaws('dropout', {
  inputs: { x: [4, 5] },
  run: ({ x }) => dropout(x!, 0.3, 11),
});

const ones = (rate: number, seed: number, size = 400) =>
  tf.tidy(() => Array.from(dropout(tf.ones([size]), rate, seed).dataSync()));

describe.each(['cpu', 'wasm'])('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each([0, 1, 2 ** 31 - 1])('seed %i drops the same values each time', (seed) => {
    expect(ones(0.5, seed)).toEqual(ones(0.5, seed));
  });

  test('another seed drops others', () => expect(ones(0.5, 1)).not.toEqual(ones(0.5, 2)));

  test('kept values are scaled by 1/(1 − rate), so that the mean stays', () => {
    const values = ones(0.2, 3, 20000);
    const kept = Math.fround(1 / 0.8);
    expect(new Set(values)).toEqual(new Set([0, kept]));
    // The share kept has a standard deviation of √(0.2·0.8/20000) = 0.0028; five of them, times 1.25.
    expect(Math.abs(values.reduce((sum, value) => sum + value, 0) / values.length - 1)).toBeLessThan(0.018);
  });

  test('the backward drops what the forward dropped', () => {
    const gradient = tf.tidy(() =>
      Array.from(
        tf
          .grad((x) => dropout(x, 0.5, 9))(tf.ones([400]))
          .dataSync(),
      ),
    );
    expect(gradient).toEqual(ones(0.5, 9));
  });

  test('rate 0 is the input itself', async () => {
    await expectNoTensorsLeft(() => {
      const x = tf.ones([2]);
      expect(dropout(x, 0, 1)).toBe(x);
      x.dispose();
    });
  });
});
