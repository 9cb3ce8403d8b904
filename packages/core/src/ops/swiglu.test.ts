import type * as tf from '@tensorflow/tfjs-core';
import { opLaws } from '../__testing__/op-laws.js';
import { swiglu } from './swiglu.js';

opLaws('swiglu', {
  inputs: { gate: [3, 5], up: [3, 5] },
  run: ({ gate, up }) => swiglu(gate as tf.Tensor2D, up as tf.Tensor2D),
  reference: ({ gate, up }) => gate!.map((z, i) => (z / (1 + Math.exp(-z))) * up![i]!),
});
