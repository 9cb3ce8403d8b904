import { readFileSync } from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import { IGNORED_LABEL } from '../contracts/data-source.js';
import { AdaptedModel } from '../models/adapted-model.js';
import { loadModel } from '../models/load-model.js';
import { adamw } from '../optimizer/adamw.js';
import { collate } from './batch.js';
import { summedLoss } from './forward-stages.js';
import { lossGradients } from './loss-gradients.js';
import { wantedParameters } from './wanted-parameters.js';

const FIXTURES = path.join(__dirname, '../../../../fixtures');

interface Fixture {
  input_ids: number[][];
  labels: number[][];
  attention_mask: number[][];
  loss: number;
  logits: { rows01: number[][][]; row0_tail: number[][] };
  logit_positions: number[];
  losses: number[];
  loss_after_5: number;
  grad_norms_step0: Record<string, number>;
}

const read = (name: string): Fixture => JSON.parse(readFileSync(path.join(FIXTURES, name, 'fixture.json'), 'utf8'));

/** The fixture's rows without their padding, as a trainer gets them. */
const batchOf = (fixture: Fixture) =>
  collate(
    fixture.input_ids.map((row, r) => {
      const length = fixture.attention_mask[r]!.reduce((sum, bit) => sum + bit, 0);
      return {
        ids: Int32Array.from(row.slice(0, length)),
        labels: Int32Array.from(fixture.labels[r]!.slice(0, length)),
      };
    }),
    0,
  );

const relative = (a: number, b: number) => Math.abs(a - b) / Math.max(1e-8, Math.abs(b));

describe.each(['wasm', 'cpu'])('on %s, as transformers computes it', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(['llama-mha-tied', 'llama-gqa-rope3', 'llama-bias-headdim'])('%s', (name) => {
    const fixture = read(name);

    test('logits of both rows, the padded one included, to 1e-4', async () => {
      const base = await loadModel(path.join(FIXTURES, name));
      const model = new AdaptedModel(base);
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
      await base.dispose();
    });

    test.each([false, true, { keep: 1 }])(
      'loss, gradient norms and 5 AdamW steps to 1e-4 relative (recompute %j)',
      async (recompute) => {
        const base = await loadModel(path.join(FIXTURES, name));
        const model = new AdaptedModel(base, full());
        const optimizer = adamw({ learningRate: 1e-3, weightDecay: 0.01 });
        const batch = batchOf(fixture);
        expect(batch.targets.includes(IGNORED_LABEL)).toBe(false);
        const wanted = wantedParameters(model, model.parameters);
        const losses: number[] = [];
        let live = 0;
        for (let step = 0; step < 5; step++) {
          const scale = 1 / batch.targets.length;
          const { loss, gradients } = lossGradients({
            model: base,
            pass: model.forward({ training: true }),
            batch,
            wanted,
            recompute,
          });
          losses.push(loss * scale);
          const means = gradients.map((gradient) => tf.mul(gradient, scale));
          if (step === 0) {
            model.parameters.forEach((parameter, i) => {
              const norm = Math.sqrt(tf.tidy(() => tf.sum(tf.square(means[i]!)).dataSync()[0]!));
              expect(relative(norm, fixture.grad_norms_step0[parameter.name]!)).toBeLessThan(1e-4);
            });
            expect(model.parameters.map((p) => p.name).sort()).toEqual(Object.keys(fixture.grad_norms_step0).sort());
          }
          optimizer.step(
            model.parameters.map((parameter, i) => ({ parameter, gradient: means[i]! })),
            1e-3,
          );
          tf.dispose([...gradients, ...means]);
          if (step === 1) live = tf.memory().numTensors;
        }
        expect(tf.memory().numTensors).toBe(live);
        for (const [i, loss] of losses.entries()) expect(relative(loss, fixture.losses[i]!)).toBeLessThan(1e-4);
        const after = summedLoss({ model: base, pass: model.forward(), batch }) / batch.targets.length;
        expect(relative(after, fixture.loss_after_5)).toBeLessThan(1e-4);
        model.dispose();
        optimizer.dispose();
        await base.dispose();
      },
    );
  });
});
