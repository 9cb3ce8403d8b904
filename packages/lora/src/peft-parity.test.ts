import { readFileSync } from 'node:fs';
import path from 'node:path';
import {
  AdaptedModel,
  type Adapter,
  adamw,
  type CausalModel,
  type DataSource,
  fineTune,
  type LayerSelector,
  loadModel,
  Parameter,
  useBackend,
} from '@lft/core';
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

    test('gradient norms and 5 steps of AdamW to 1e-4 relative', async () => {
      const watch = watcher();
      const run = await fineTune({
        model: base,
        data: dataOf(fixture),
        adapter: await loadLora(path.join(fixtures, name)),
        selector: watch.selector,
        optimizer: adamw({ learningRate: 1e-3, weightDecay: 0.01 }),
        schedule: 'constant',
        clipNorm: 0,
        steps: 6,
        batchSize: 2,
      });
      const expected = [...fixture.losses, fixture.loss_after_5];
      expect(Math.max(...run.losses.map((loss, step) => relative(loss, expected[step]!)))).toBeLessThan(1e-4);
      expect(run.losses).toHaveLength(6);

      // PEFT's names in memory carry its prefix and the name of the adapter.
      const norms = [...watch.norms].map(
        ([id, norm]) => [`base_model.model.${id.replace(/\.weight$/, '.default.weight')}`, norm] as const,
      );
      expect(norms.map(([name]) => name).sort()).toEqual(Object.keys(fixture.grad_norms_step0).sort());
      for (const [name, norm] of norms) expect(relative(norm, fixture.grad_norms_step0[name]!)).toBeLessThan(1e-4);
      run.dispose();
    });
  });
});

/** Both rows without their padding. */
function dataOf({ input_ids, labels, attention_mask }: Fixture): DataSource {
  const train = input_ids.map((row, r) => {
    const length = attention_mask[r]!.lastIndexOf(1) + 1;
    return { ids: Int32Array.from(row.slice(0, length)), labels: Int32Array.from(labels[r]!.slice(0, length)) };
  });
  return {
    options: {},
    prepare: async () => ({ train, validation: [], fingerprint: 'fixture', description: 'two rows' }),
  };
}

/** Trains everything, and keeps the norm of every parameter's gradient in the first step. */
function watcher(): { selector: LayerSelector; norms: Map<string, number> } {
  const norms = new Map<string, number>();
  let all: ReadonlySet<string> = new Set();
  const selector: LayerSelector = {
    name: 'watcher',
    options: {},
    granularity: 'matrix',
    setup({ units }) {
      all = new Set(units.map(({ id }) => id));
    },
    select: () => all,
    observe({ step, gradientNorms }) {
      if (step === 0) for (const [id, norm] of gradientNorms) norms.set(id, norm);
    },
    importance: () => undefined,
    state: () => null,
    restore() {},
  };
  return { selector, norms };
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
