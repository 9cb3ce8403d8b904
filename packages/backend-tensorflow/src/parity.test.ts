import { readFileSync } from 'node:fs';
import path from 'node:path';
import {
  AdaptedModel,
  type Adapter,
  adamw,
  type CausalModel,
  type DataSource,
  fineTune,
  full,
  type LayerSelector,
  loadModel,
} from '@lft/core';
import { loadLora } from '@lft/lora';
import { whereInstalled } from './__testing__/where-installed.js';
import { useTensorFlow } from './use-tensorflow.js';

const fixtures = path.join(__dirname, '../../../fixtures');

/** What transformers and PEFT computed. */
interface Fixture {
  base?: string;
  input_ids: number[][];
  labels: number[][];
  attention_mask: number[][];
  logit_positions: number[];
  logit_positions_row0_tail: number[];
  logits: { rows01: number[][][]; row0_tail: number[][] };
  losses: number[];
  loss_after_5: number;
  grad_norms_step0: Record<string, number>;
}

/** The reference errs by up to 5e-6 (see fixtures/README.md); f32 in another order by as much. */
const TOLERANCE = 1e-4;
const relative = (actual: number, expected: number) => Math.abs(actual - expected) / Math.abs(expected);

whereInstalled('as transformers and PEFT compute it', () => {
  beforeAll(async () => {
    await useTensorFlow();
  });

  describe.each([
    'llama-mha-tied',
    'llama-gqa-rope3',
    'llama-bias-headdim',
    'llama-mha-tied.lora',
    'llama-gqa-rope3.lora-all-rslora',
  ])('%s', (name) => {
    const fixture = JSON.parse(readFileSync(path.join(fixtures, name, 'fixture.json'), 'utf8')) as Fixture;
    const adapter = async (): Promise<Adapter> => (fixture.base ? loadLora(path.join(fixtures, name)) : full());
    let base: CausalModel;
    beforeEach(async () => {
      base = await loadModel(path.join(fixtures, fixture.base ?? name));
    });
    afterEach(() => base.dispose());

    test('logits to 1e-4', async () => {
      // Of the frozen model where there is no adapter: its own kernels, and not those of trained weights.
      const adapted = fixture.base ? new AdaptedModel(base, await adapter()) : new AdaptedModel(base);
      expect(largestDifference(fixture, adapted)).toBeLessThan(TOLERANCE);
      adapted.dispose();
    });

    test('gradient norms and 5 steps of AdamW to 1e-4 relative', async () => {
      const { selector, norms } = watcher();
      const run = await fineTune({
        model: base,
        data: dataOf(fixture),
        adapter: await adapter(),
        selector,
        optimizer: adamw({ learningRate: 1e-3, weightDecay: 0.01 }),
        schedule: 'constant',
        clipNorm: 0,
        steps: 6,
        batchSize: 2,
      });
      const expected = [...fixture.losses, fixture.loss_after_5];
      expect(run.losses).toHaveLength(6);
      expect(Math.max(...run.losses.map((loss, step) => relative(loss, expected[step]!)))).toBeLessThan(TOLERANCE);
      const named = [...norms].map(([id, norm]) => [fixture.base ? nameInPeft(id) : id, norm] as const);
      expect(named.map(([id]) => id).sort()).toEqual(Object.keys(fixture.grad_norms_step0).sort());
      for (const [id, norm] of named) expect(relative(norm, fixture.grad_norms_step0[id]!)).toBeLessThan(TOLERANCE);
      run.dispose();
    });
  });
});

/** PEFT's names in memory carry its prefix and the name of the adapter. */
const nameInPeft = (id: string) => `base_model.model.${id.replace(/\.weight$/, '.default.weight')}`;

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

function largestDifference(fixture: Fixture, model: AdaptedModel): number {
  const segments = Int32Array.from(fixture.attention_mask.flat(), (bit) => bit - 1);
  const logits = model.logits(fixture.input_ids, { segments });
  const values = logits.arraySync() as number[][][];
  logits.dispose();
  const { rows01, row0_tail } = fixture.logits;
  const pairs = [
    ...rows01.flatMap((row, r) => row.map((at, i) => [values[r]![fixture.logit_positions[i]!]!, at] as const)),
    ...row0_tail.map((at, i) => [values[0]![fixture.logit_positions_row0_tail[i]!]!, at] as const),
  ];
  return Math.max(...pairs.flatMap(([ours, theirs]) => theirs.map((value, v) => Math.abs(ours[v]! - value))));
}
