import { readFileSync } from 'node:fs';
import path from 'node:path';
import {
  AdaptedModel,
  type Adapter,
  adamw,
  type CausalModel,
  collate,
  loadModel,
  lossGradients,
  Parameter,
  summedLoss,
  useBackend,
  wantedParameters,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { loadLora } from './index.js';

const fixtures = path.join(__dirname, '../../../fixtures');

/** What transformers and PEFT computed. */
interface Fixture {
  base: string;
  input_ids: number[][];
  labels: number[][];
  attention_mask: number[][];
  logit_positions: number[];
  logit_positions_row0_tail: number[];
  logits: Logits;
  merged_logits: Logits;
  losses: number[];
  loss_after_5: number;
  grad_norms_step0: Record<string, number>;
}

interface Logits {
  rows01: number[][][];
  row0_tail: number[][];
}

const relative = (actual: number, expected: number) => Math.abs(actual - expected) / Math.abs(expected);

describe.each(['wasm', 'cpu'])('on %s, as PEFT computes it', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(['llama-mha-tied.lora', 'llama-gqa-rope3.lora-all-rslora'])('%s', (name) => {
    const fixture = JSON.parse(readFileSync(path.join(fixtures, name, 'fixture.json'), 'utf8')) as Fixture;
    let base: CausalModel;
    let adapted: AdaptedModel;

    beforeEach(async () => {
      base = await loadModel(path.join(fixtures, fixture.base));
      adapted = new AdaptedModel(base, await loadLora(path.join(fixtures, name)));
    });
    afterEach(async () => {
      adapted.dispose();
      await base.dispose();
    });

    test('logits to 1e-4', () => {
      expect(largestDifference(fixture, adapted, fixture.logits)).toBeLessThan(1e-4);
    });

    test('logits of the merged model to 1e-4', () => {
      const merged = new AdaptedModel(base, mergedInto(adapted));
      expect(largestDifference(fixture, merged, fixture.merged_logits)).toBeLessThan(1e-4);
      merged.dispose();
    });

    test('gradient norms and 5 steps of AdamW to 1e-4 relative', () => {
      const batch = collate(examplesOf(fixture), 0);
      const optimizer = adamw({ weightDecay: 0.01 });
      const wanted = wantedParameters(adapted, adapted.parameters);
      for (const [step, expected] of fixture.losses.entries()) {
        const pass = adapted.forward({ training: true });
        const { loss, gradients } = lossGradients({ model: base, pass, batch, wanted, recompute: false });
        const means = gradients.map((gradient) => tf.div(gradient, batch.targets.length));
        expect(relative(loss / batch.targets.length, expected)).toBeLessThan(1e-4);
        if (step === 0) expectNorms(adapted, means, fixture.grad_norms_step0);
        const updates = adapted.parameters.map((parameter, i) => ({ parameter, gradient: means[i]! }));
        optimizer.step(updates, 1e-3);
        tf.dispose([...gradients, ...means]);
      }
      const loss = summedLoss({ model: base, pass: adapted.forward(), batch }) / batch.targets.length;
      expect(relative(loss, fixture.loss_after_5)).toBeLessThan(1e-4);
      optimizer.dispose();
    });
  });
});

/** The rows without their padding. */
function examplesOf({ input_ids, labels, attention_mask }: Fixture) {
  return input_ids.map((row, r) => {
    const length = attention_mask[r]!.lastIndexOf(1) + 1;
    return { ids: Int32Array.from(row.slice(0, length)), labels: Int32Array.from(labels[r]!.slice(0, length)) };
  });
}

function largestDifference(fixture: Fixture, model: AdaptedModel, expected: Logits): number {
  const segments = Int32Array.from(fixture.attention_mask.flat(), (bit) => bit - 1);
  const logits = model.logits(fixture.input_ids, { segments });
  const values = logits.arraySync() as number[][][];
  logits.dispose();
  const pairs = [
    ...expected.rows01.flatMap((row, r) => row.map((at, i) => [values[r]![fixture.logit_positions[i]!]!, at] as const)),
    ...expected.row0_tail.map((at, i) => [values[0]![fixture.logit_positions_row0_tail[i]!]!, at] as const),
  ];
  return Math.max(...pairs.flatMap(([ours, theirs]) => theirs.map((value, v) => Math.abs(ours[v]! - value))));
}

/** PEFT's names in memory carry its prefix and the name of the adapter. */
function expectNorms(model: AdaptedModel, gradients: tf.Tensor[], expected: Record<string, number>): void {
  const names = model.parameters.map(({ name }) => `base_model.model.${name.replace(/\.weight$/, '.default.weight')}`);
  expect(names.toSorted()).toEqual(Object.keys(expected).sort());
  names.forEach((name, i) => {
    const norm = tf.tidy(() => tf.norm(gradients[i]!).dataSync()[0]!);
    expect(relative(norm, expected[name]!)).toBeLessThan(1e-4);
  });
}

/** An adapter that trains the weights into which another was merged. */
function mergedInto({ attachments }: AdaptedModel): Adapter {
  const deltas = new Map(attachments.map(({ site, delta }) => [site.path, delta]));
  return {
    name: 'merged',
    options: {},
    attach(site, init) {
      const delta = deltas.get(site.path);
      if (!delta) return undefined;
      const frozen = init.weight();
      const weight = new Parameter(`${site.path}.weight`, delta.merged!('weight', frozen));
      frozen.dispose();
      return { parameters: [weight], reweight: (tensor) => (tensor === 'weight' ? weight.variable : undefined) };
    },
  };
}
