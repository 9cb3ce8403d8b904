import { readFileSync } from 'node:fs';
import path from 'node:path';
import {
  AdaptedModel,
  adamw,
  collate,
  full,
  loadModel,
  lossGradients,
  ops,
  summedLoss,
  useBackend,
  wantedParameters,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { nativeProblem, useNative } from './index.js';

const FIXTURES = path.join(__dirname, '../../../fixtures');

interface Fixture {
  input_ids: number[][];
  labels: number[][];
  attention_mask: number[][];
  logits: { rows01: number[][][] };
  logit_positions: number[];
  losses: number[];
  loss_after_5: number;
  grad_norms_step0: Record<string, number>;
}

const problem = nativeProblem();
(problem ? describe.skip : describe)('on the native backend, as transformers computes it', () => {
  beforeAll(() => useNative({ precision: 'f32' }));

  test.each(['llama-mha-tied', 'llama-gqa-rope3', 'llama-bias-headdim'])(
    '%s: logits, losses, gradient norms, 5 AdamW steps',
    async (name) => {
      const fixture: Fixture = JSON.parse(readFileSync(path.join(FIXTURES, name, 'fixture.json'), 'utf8'));
      const base = await loadModel(path.join(FIXTURES, name));
      const model = new AdaptedModel(base, full());
      const segments = Int32Array.from(fixture.attention_mask.flat(), (bit) => bit - 1);
      const logits = model.logits(fixture.input_ids, { segments });
      const values = (await logits.array()) as number[][][];
      for (const [row, positions] of fixture.logits.rows01.entries()) {
        for (const [i, expected] of positions.entries()) {
          const actual = values[row]![fixture.logit_positions[i]!]!;
          for (const [v, value] of expected.entries()) expect(Math.abs(actual[v]! - value)).toBeLessThan(1e-4);
        }
      }
      logits.dispose();

      const batch = collate(
        fixture.input_ids.map((row, r) => {
          const length = fixture.attention_mask[r]!.reduce((sum, bit) => sum + bit, 0);
          return {
            ids: Int32Array.from(row.slice(0, length)),
            labels: Int32Array.from(fixture.labels[r]!.slice(0, length)),
          };
        }),
        0,
      );
      const optimizer = adamw({ learningRate: 1e-3, weightDecay: 0.01 });
      const wanted = wantedParameters(model, model.parameters);
      const tokens = batch.targets.length;
      let live = 0;
      for (let step = 0; step < 5; step++) {
        const { loss, gradients } = lossGradients({
          model: base,
          pass: model.forward(),
          batch,
          wanted,
          recompute: step % 2 === 1,
        });
        expect(Math.abs(loss / tokens / fixture.losses[step]! - 1)).toBeLessThan(1e-4);
        const norms = ops.squaredNorms(gradients);
        if (step === 0) {
          for (const [i, { name: parameter }] of model.parameters.entries()) {
            expect(Math.abs(Math.sqrt(norms[i]!) / tokens / fixture.grad_norms_step0[parameter]! - 1)).toBeLessThan(
              1e-4,
            );
          }
        }
        const means = gradients.map((gradient) => tf.mul(gradient, 1 / tokens));
        optimizer.step(
          model.parameters.map((parameter, i) => ({ parameter, gradient: means[i]! })),
          1e-3,
        );
        tf.dispose([...gradients, ...means]);
        if (step === 1) live = tf.memory().numTensors;
      }
      expect(tf.memory().numTensors).toBe(live);
      const after = summedLoss({ model: base, pass: model.forward(), batch }) / tokens;
      expect(Math.abs(after / fixture.loss_after_5 - 1)).toBeLessThan(1e-4);
      model.dispose();
      optimizer.dispose();
      await base.dispose();
    },
  );
});

if (problem) test.skip(problem, () => useBackend());
