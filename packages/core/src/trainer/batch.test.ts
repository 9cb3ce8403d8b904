import * as tf from '@tensorflow/tfjs-core';
import { UNTIED } from '../__testing__/model-folder.js';
import { expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { example } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Example } from '../contracts/data-source.js';
import { AdaptedModel } from '../models/adapted-model.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { collate } from './batch.js';
import { lossGradients } from './loss-gradients.js';
import { wantedParameters } from './wanted-parameters.js';

const row = (ids: number[], labels = ids, segments?: number[]): Example => ({
  ids: Int32Array.from(ids),
  labels: Int32Array.from(labels),
  ...(segments ? { segments: Int32Array.from(segments) } : {}),
});

describe('collate', () => {
  test('label t is predicted at token t − 1; the first token of a row is not predicted', () => {
    const batch = collate([row([5, 6, 7])], 0);
    expect([...batch.predicting]).toEqual([0, 1]);
    expect([...batch.targets]).toEqual([6, 7]);
  });

  test('ignored labels are not targets', () => {
    const batch = collate([row([5, 6, 7, 8], [-100, -100, 7, 8])], 0);
    expect([...batch.predicting]).toEqual([1, 2]);
    expect([...batch.targets]).toEqual([7, 8]);
  });

  test('shorter rows are padded on the right, by a document that nothing belongs to', () => {
    const batch = collate([row([1, 2, 3]), row([4])], 9, false);
    expect(batch).toMatchObject({ rows: 2, length: 3 });
    expect([...batch.ids]).toEqual([1, 2, 3, 4, 9, 9]);
    expect([...batch.segments!]).toEqual([0, 0, 0, 0, -1, -1]);
    expect([...batch.predicting]).toEqual([0, 1]);
  });

  test('rows of different lengths may be joined to one, each with documents of its own', () => {
    const batch = collate([row([1, 2, 3]), row([4, 5]), row([6, 7, 8], undefined, [0, 1, 1]), row([9])], 0, true);
    expect(batch).toMatchObject({ rows: 1, length: 9, starts: [0, 3, 5, 8] });
    expect([...batch.ids]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...batch.segments!]).toEqual([0, 0, 0, 1, 1, 2, 3, 3, 4]);
    expect([...batch.targets]).toEqual([2, 3, 5, 8]);
    expect([...batch.predicting]).toEqual([0, 1, 3, 6]);
    expect(collate([row([1, 2]), row([3, 4])], 0, true)).toMatchObject({ rows: 2, length: 2 });
  });

  test('rows of one length and one document need no segments', () => {
    expect(collate([row([1, 2]), row([3, 4])], 0).segments).toBeUndefined();
  });

  test('the first token of a packed document is not predicted from the document before it', () => {
    const batch = collate([row([1, 2, 3, 4, 5], undefined, [0, 0, 0, 1, 1])], 0);
    expect([...batch.targets]).toEqual([2, 3, 5]);
    expect([...batch.predicting]).toEqual([0, 1, 3]);
  });

  test('indices go on from row to row', () => {
    expect([...collate([row([1, 2]), row([3, 4])], 0).predicting]).toEqual([0, 2]);
  });
});

describe('loss and gradients', () => {
  let base: CausalModel;
  let model: AdaptedModel;
  beforeAll(async () => {
    await useBackend('wasm');
    base = await loadModel(UNTIED);
    model = new AdaptedModel(base, full());
  });
  afterAll(async () => {
    model.dispose();
    await base.dispose();
  });

  const compute = (batches: Example[][], recompute = false, join = false) => {
    let loss = 0;
    let sums: Float32Array[] | undefined;
    for (const rows of batches) {
      const wanted = wantedParameters(model, model.parameters);
      const result = lossGradients({
        model: base,
        pass: model.forward(),
        batch: collate(rows, 0, join),
        wanted,
        recompute,
      });
      loss += result.loss;
      const values = result.gradients.map((gradient) => gradient.dataSync() as Float32Array);
      sums = sums ? sums.map((sum, i) => sum.map((value, k) => value + values[i]![k]!)) : values;
      tf.dispose(result.gradients);
    }
    return { loss, gradients: sums! };
  };

  /** To 1e-5 of the loss and of each parameter's largest gradient. */
  const expectSame = (a: ReturnType<typeof compute>, b: ReturnType<typeof compute>) => {
    expect(Math.abs(a.loss - b.loss) / b.loss).toBeLessThan(1e-5);
    a.gradients.forEach((gradient, i) => {
      const other = b.gradients[i]!;
      const largest = other.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
      const error = gradient.reduce((most, value, k) => Math.max(most, Math.abs(value - other[k]!)), 0);
      expect(error / largest).toBeLessThan(1e-5);
    });
  };

  const [a, b, c] = [example(0, 7), example(1, 4, 2), example(2, 9)];

  test('packed rows give what separate rows give', () => {
    const packed = row(
      [...a.ids, ...b.ids, ...c.ids],
      [...a.labels, ...b.labels, ...c.labels],
      [...a.ids]
        .map(() => 0)
        .concat(
          [...b.ids].map(() => 1),
          [...c.ids].map(() => 2),
        ),
    );
    expectSame(compute([[packed]]), compute([[a], [b], [c]]));
  });

  test('a label on the first token of a packed document changes nothing', () => {
    const first = { ...b, labels: Int32Array.from(b.labels, (label, t) => (t === 0 ? b.ids[0]! : label)) };
    const pack = (second: Example) =>
      row([...a.ids, ...second.ids], [...a.labels, ...second.labels], [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    expect(compute([[pack(first)]]).loss).toBe(compute([[pack(b)]]).loss);
  });

  test('padded rows give what separate rows give', () => {
    expectSame(compute([[a, b, c]]), compute([[a], [b], [c]]));
  });

  test('rows joined to one give what separate rows give', () => {
    expectSame(compute([[a, b, c]], false, true), compute([[a], [b], [c]]));
  });

  test('blocks that are computed again give the same gradients', () => {
    expectSame(compute([[a, b, c]], true), compute([[a, b, c]], false));
  });

  test.each([false, true])(
    'only what is wanted is differentiated, and nothing is left (recompute %s)',
    async (recompute) => {
      const all = compute([[a, b]], recompute);
      const batch = collate([a, b], 0);
      for (const name of [
        'model.embed_tokens.weight',
        'model.layers.1.self_attn.v_proj.weight',
        'model.layers.2.input_layernorm.weight',
        'lm_head.weight',
      ]) {
        const index = model.parameters.findIndex((parameter) => parameter.name === name);
        await expectNoTensorsLeft(() => {
          const wanted = wantedParameters(model, [model.parameters[index]!]);
          const { gradients } = lossGradients({ model: base, pass: model.forward(), batch, wanted, recompute });
          expect(gradients).toHaveLength(1);
          const values = gradients[0]!.dataSync();
          all.gradients[index]!.forEach((value, k) => {
            if (Math.abs(value - values[k]!) > 1e-5) throw new Error(`${name} differs at ${k}`);
          });
          tf.dispose(gradients);
        });
      }
    },
  );
});
