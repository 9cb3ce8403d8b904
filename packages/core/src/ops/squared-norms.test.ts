import * as tf from '@tensorflow/tfjs-core';
import { draws, expectClose, expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { squaredNorms } from './squared-norms.js';

describe.each(['cpu', 'wasm'])('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test('the sum of squares of every tensor, whatever its shape', async () => {
    const shapes = [[4], [2, 3], [2, 2, 2], [1]];
    const values = shapes.map((shape, i) => draws(`t${i}`, shape));
    await expectNoTensorsLeft(() => {
      const tensors = shapes.map((shape, i) => tf.tensor(values[i]!, shape));
      const expected = values.map((list) => list.reduce((sum, v) => sum + v * v, 0));
      expectClose(squaredNorms(tensors), expected, 1e-6);
      tf.dispose(tensors);
    });
  });

  test('of no tensor, nothing', () => expect([...squaredNorms([])]).toEqual([]));

  test('a value that is not a number shows', () => {
    tf.tidy(() => expect(squaredNorms([tf.tensor([1, Number.NaN])])[0]).toBeNaN());
  });
});
