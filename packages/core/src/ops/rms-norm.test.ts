import type * as tf from '@tensorflow/tfjs-core';
import { opLaws } from '../__testing__/op-laws.js';
import { rmsNorm } from './rms-norm.js';

const [N, D] = [3, 6];
// The large ε shows that it is added to the mean square, and not outside the root.
for (const epsilon of [1e-5, 0.5]) {
  opLaws(`rmsNorm with epsilon ${epsilon}`, {
    inputs: { x: [N, D], weight: [D] },
    run: ({ x, weight }) => rmsNorm(x as tf.Tensor2D, weight as tf.Tensor1D, epsilon),
    reference: ({ x, weight }) =>
      x!.map((value, i) => {
        const row = x!.slice(Math.floor(i / D) * D, (Math.floor(i / D) + 1) * D);
        const meanSquare = row.reduce((sum, v) => sum + v * v, 0) / D;
        return (value / Math.sqrt(meanSquare + epsilon)) * weight![i % D]!;
      }),
  });
}
