import type * as tf from '@tensorflow/tfjs-core';
import { opLaws } from '../__testing__/op-laws.js';
import { matmul } from './matmul.js';

const [M, K, N] = [3, 4, 5];

for (const transposeA of [false, true]) {
  for (const transposeB of [false, true]) {
    opLaws(`matmul a${transposeA ? 'ᵀ' : ''}·b${transposeB ? 'ᵀ' : ''}`, {
      inputs: { a: transposeA ? [K, M] : [M, K], b: transposeB ? [N, K] : [K, N] },
      run: ({ a, b }) => matmul(a as tf.Tensor2D, b as tf.Tensor2D, { transposeA, transposeB }),
      reference: ({ a, b }) =>
        Array.from({ length: M * N }, (_, i) => {
          const [m, n] = [Math.floor(i / N), i % N];
          let sum = 0;
          for (let k = 0; k < K; k++)
            sum += a![transposeA ? k * M + m : m * K + k]! * b![transposeB ? n * K + k : k * N + n]!;
          return sum;
        }),
    });
  }
}

// On wasm the operand that is transposed is chosen by size: these shapes take the other way.
opLaws('matmul aᵀ·b with a large a', {
  inputs: { a: [6, 5], b: [6, 2] },
  run: ({ a, b }) => matmul(a as tf.Tensor2D, b as tf.Tensor2D, { transposeA: true }),
  reference: ({ a, b }) =>
    Array.from({ length: 10 }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < 6; k++) sum += a![k * 5 + Math.floor(i / 2)]! * b![k * 2 + (i % 2)]!;
      return sum;
    }),
});

opLaws('matmul a·bᵀ with a large b', {
  inputs: { a: [2, 6], b: [5, 6] },
  run: ({ a, b }) => matmul(a as tf.Tensor2D, b as tf.Tensor2D, { transposeB: true }),
  reference: ({ a, b }) =>
    Array.from({ length: 10 }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < 6; k++) sum += a![Math.floor(i / 5) * 6 + k]! * b![(i % 5) * 6 + k]!;
      return sum;
    }),
});
