import * as tf from '@tensorflow/tfjs-core';
import { opLaws } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { add } from './add.js';

opLaws('add', {
  inputs: { a: [2, 3], b: [2, 3] },
  run: ({ a, b }) => add(a!, b!),
  reference: ({ a, b }) => a!.map((value, i) => value + b![i]!),
});

test('add keeps neither operand for its gradient', async () => {
  await useBackend('cpu');
  const alive = tf.tidy(() => {
    const x = tf.variable(tf.ones([4]));
    let inside = 0;
    tf.variableGrads(() => {
      const doubled = tf.tidy(() => add(add(x, x), x));
      inside = tf.memory().numTensors;
      return tf.sum(doubled) as tf.Scalar;
    });
    return { inside, before: 1 };
  });
  // x and the sum; the sum in between is gone.
  expect(alive.inside).toBeLessThanOrEqual(alive.before + 2);
});

test('add takes one shape', async () => {
  await useBackend('cpu');
  expect(() => tf.tidy(() => add(tf.ones([2, 3]), tf.ones([3])))).toThrow(/add: /);
});
