import * as tf from '@tensorflow/tfjs-core';
import { draws, expectClose, expectNoTensorsLeft, opLaws } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';
import { bfloat16FromFloat32, float32FromBFloat16 } from '../formats/half-precision.js';
import { FrozenWeight } from '../weights/frozen-weight.js';
import { linearCrossEntropy } from './linear-cross-entropy.js';

const [N, D, V] = [5, 3, 7];
const targets = Int32Array.from([6, 0, 3, 3, 1]);
const f32 = Float32Array.from(draws('head', [V, D]));
const bf16 = bfloat16FromFloat32(f32);

/** Σ_n log Σ_v e^{h_n·W_v} − h_n·W_target in f64. */
function formula(h: ArrayLike<number>, weight: ArrayLike<number>): number {
  let loss = 0;
  for (let n = 0; n < N; n++) {
    const logits = Array.from({ length: V }, (_, v) => {
      let sum = 0;
      for (let d = 0; d < D; d++) sum += h[n * D + d]! * weight[v * D + d]!;
      return sum;
    });
    const max = Math.max(...logits);
    loss += max + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0)) - logits[targets[n]!]!;
  }
  return loss;
}

function inBlocks(data: Float32Array | Uint16Array): FrozenWeight {
  const weight = new FrozenWeight('head', [V, D], data);
  jest.spyOn(weight, 'blocks').mockReturnValue([
    [0, 3],
    [3, 6],
    [6, 7],
  ]);
  return weight;
}

// Two rows of logits at a time: chunks of 2, 2 and 1.
for (const logitValues of [undefined, 2 * V + 1]) {
  const how = logitValues ? 'several chunks' : 'one chunk';
  for (const [name, weight, values] of [
    ['f32', new FrozenWeight('head', [V, D], f32), f32],
    ['bf16', new FrozenWeight('head', [V, D], bf16), float32FromBFloat16(bf16)],
    ['f32 in blocks of rows', inBlocks(f32), f32],
    ['bf16 in blocks of rows', inBlocks(bf16), float32FromBFloat16(bf16)],
  ] as const) {
    opLaws(`linearCrossEntropy with a frozen ${name} head in ${how}`, {
      inputs: { h: [N, D] },
      run: ({ h }) => linearCrossEntropy(h as tf.Tensor2D, weight, targets, true, logitValues),
      reference: ({ h }) => [formula(h!, values)],
    });
  }

  opLaws(`linearCrossEntropy with a trained head in ${how}`, {
    inputs: { h: [N, D], weight: [V, D] },
    run: ({ h, weight }) => linearCrossEntropy(h as tf.Tensor2D, weight as tf.Tensor2D, targets, true, logitValues),
    reference: ({ h, weight }) => [formula(h!, weight!)],
  });
}

describe.each(['cpu', 'wasm'])('on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  const h = draws('h', [N, D]);

  test('without gradients the loss is the same and no tensor is left', async () => {
    for (const make of [() => new FrozenWeight('head', [V, D], f32), () => tf.tensor2d(f32, [V, D])]) {
      await expectNoTensorsLeft(() => {
        const loss = tf.tidy(() => linearCrossEntropy(tf.tensor2d(h, [N, D]), make(), targets, false).dataSync()[0]!);
        expectClose([loss], [formula(h, f32)], 1e-6);
      });
    }
  });

  test('logits of ±1000 give a finite, right loss', () => {
    const large = h.map((value) => value * 1000);
    const loss = tf.tidy(
      () =>
        linearCrossEntropy(
          tf.tensor2d(large, [N, D]),
          new FrozenWeight('h', [V, D], f32),
          targets,
          false,
        ).dataSync()[0]!,
    );
    expectClose([loss], [formula(large.map(Math.fround), f32)], 1e-5);
  });

  test('no row at all is a loss of 0 with an empty gradient', () => {
    const weight = new FrozenWeight('h', [V, D], f32);
    tf.tidy(() => {
      const gradient = tf.grad((rows) => linearCrossEntropy(rows as tf.Tensor2D, weight, new Int32Array(0), true));
      expect(gradient(tf.zeros([0, D])).shape).toEqual([0, D]);
    });
    const loss = tf.tidy(
      () =>
        linearCrossEntropy(
          tf.zeros([0, D]),
          new FrozenWeight('h', [V, D], f32),
          new Int32Array(0),
          false,
        ).dataSync()[0],
    );
    expect(loss).toBe(0);
  });
});
