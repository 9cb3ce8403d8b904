import * as tf from '@tensorflow/tfjs-core';
import { opLaws } from '../__testing__/op-laws.js';
import { lowRankUpdate } from './low-rank.js';

const [N, IN, OUT, R, SCALE] = [3, 4, 5, 2, 1.5];

opLaws('low-rank update', {
  inputs: { y: [N, OUT], x: [N, IN], a: [R, IN], b: [OUT, R] },
  // A tensor of its own, which the op may use up.
  run: ({ y, x, a, b }) =>
    lowRankUpdate(tf.mul(y!, 1) as tf.Tensor2D, x as tf.Tensor2D, a as tf.Tensor2D, b as tf.Tensor2D, SCALE),
  reference: ({ y, x, a, b }) =>
    y!.map((value, at) => {
      const [n, o] = [Math.floor(at / OUT), at % OUT];
      let sum = 0;
      for (let r = 0; r < R; r++) {
        let low = 0;
        for (let i = 0; i < IN; i++) low += x![n * IN + i]! * a![r * IN + i]!;
        sum += low * b![o * R + r]!;
      }
      return value + SCALE * sum;
    }),
});
