import { readFileSync } from 'node:fs';
import path from 'node:path';
import { AdaptedModel, type Adapter, adamw, type CausalModel, fineTune, full, loadModel, Parameter } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { gradientNormWatcher, unpaddedRows } from './reference-rows.js';

export interface BackendLawOptions {
  /** The folder of the reference values: `fixtures` of this project's repository. */
  readonly fixtures: string;
  /** Loads an adapter that PEFT saved: `loadLora` of @lft/lora. With it, models with LoRA are tried too. */
  readonly loadAdapter?: (folder: string) => Promise<Adapter>;
}

/** What transformers and PEFT computed; fixtures/README.md describes it. */
interface Fixture {
  base?: string;
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

const MODELS = ['llama-mha-tied', 'llama-gqa-rope3', 'llama-bias-headdim'];
const WITH_LORA = ['llama-mha-tied.lora', 'llama-gqa-rope3.lora-all-rslora'];

/** The reference errs by up to 5e-6; f32 in another order by as much. */
const TOLERANCE = 1e-4;
const relative = (actual: number, expected: number) => Math.abs(actual - expected) / Math.abs(expected);

/**
 * That a backend computes in f32 what transformers and PEFT do, as tests: call it at the top of a test file.
 * @param start makes it the current backend
 */
export function describeBackend(
  name: string,
  start: () => unknown,
  { fixtures, loadAdapter }: BackendLawOptions,
): void {
  describe(`${name}, as transformers and PEFT compute it`, () => {
    beforeAll(async () => {
      await start();
    });

    describe.each(loadAdapter ? [...MODELS, ...WITH_LORA] : MODELS)('%s', (folder) => {
      const fixture = JSON.parse(readFileSync(path.join(fixtures, folder, 'fixture.json'), 'utf8')) as Fixture;
      const adapter = async () => (fixture.base ? loadAdapter!(path.join(fixtures, folder)) : full());
      let base: CausalModel;
      beforeEach(async () => {
        base = await loadModel(path.join(fixtures, fixture.base ?? folder));
      });
      afterEach(() => base.dispose());

      test('logits to 1e-4', async () => {
        const adapted = new AdaptedModel(base, await adapter());
        expect(largestDifference(fixture, adapted, fixture.logits)).toBeLessThan(TOLERANCE);
        adapted.dispose();
      });

      if (fixture.base) {
        test('logits of the merged model to 1e-4', async () => {
          const adapted = new AdaptedModel(base, await adapter());
          const merged = new AdaptedModel(base, mergedInto(adapted));
          expect(largestDifference(fixture, merged, fixture.merged_logits)).toBeLessThan(TOLERANCE);
          merged.dispose();
          adapted.dispose();
        });
      } else {
        test('logits of the frozen model to 1e-4', () => {
          const frozen = new AdaptedModel(base);
          expect(largestDifference(fixture, frozen, fixture.logits)).toBeLessThan(TOLERANCE);
          frozen.dispose();
        });
      }

      test.each([false, true])(
        'recompute %s: gradient norms and 5 steps of AdamW to 1e-4 relative',
        async (recompute) => {
          const before = tf.memory().numTensors;
          const { selector, norms } = gradientNormWatcher();
          const run = await fineTune({
            model: base,
            data: unpaddedRows(fixture),
            adapter: await adapter(),
            selector,
            optimizer: adamw({ learningRate: 1e-3, weightDecay: 0.01 }),
            schedule: 'constant',
            clipNorm: 0,
            steps: 6,
            batchSize: 2,
            recompute,
          });
          const expected = [...fixture.losses, fixture.loss_after_5];
          expect(run.losses).toHaveLength(6);
          expect(Math.max(...run.losses.map((loss, step) => relative(loss, expected[step]!)))).toBeLessThan(TOLERANCE);
          const named = [...norms].map(([id, norm]) => [fixture.base ? nameInPeft(id) : id, norm] as const);
          expect(named.map(([id]) => id).sort()).toEqual(Object.keys(fixture.grad_norms_step0).sort());
          for (const [id, norm] of named) expect(relative(norm, fixture.grad_norms_step0[id]!)).toBeLessThan(TOLERANCE);
          run.dispose();
          expect(tf.memory().numTensors).toBe(before);
        },
      );
    });
  });
}

/** PEFT's names in memory carry its prefix and the name of the adapter. */
const nameInPeft = (id: string) => `base_model.model.${id.replace(/\.weight$/, '.default.weight')}`;

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

/** An adapter that trains the weights into which another was merged. */
function mergedInto({ attachments }: AdaptedModel): Adapter {
  const deltas = new Map(attachments.map(({ site, delta }) => [site.path, delta]));
  return {
    name: 'merged',
    options: {},
    attach(site, init) {
      const delta = deltas.get(site.path);
      if (!delta) return undefined;
      const frozen = init.weight().make();
      const weight = new Parameter(`${site.path}.weight`, delta.merged!('weight', frozen));
      frozen.dispose();
      return { parameters: [weight], reweight: (tensor) => (tensor === 'weight' ? weight.variable : undefined) };
    },
  };
}
