import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { removeFolders, TIED, temporaryFolder } from '../__testing__/model-folder.js';
import { choosing, examples, source, valuesOf } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { OptimizerStatePolicy } from '../contracts/layer-selector.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { adamw } from '../optimizer/adamw.js';
import { fineTune } from './fine-tune.js';

let model: CausalModel;
beforeAll(async () => {
  await useBackend('wasm');
  model = await loadModel(TIED);
});
afterAll(async () => {
  await model.dispose();
  removeFolders();
});

/** Blocks by turns: 0, 1, 0, 1, 0. */
async function run(
  optimizerState: OptimizerStatePolicy | undefined,
  { own, out }: { own?: OptimizerStatePolicy; out?: string } = {},
) {
  const optimizer = adamw({ learningRate: 1e-2 });
  const result = await fineTune({
    model,
    adapter: full({ targets: ['q_proj', 'o_proj'] }),
    selector: choosing((step) => [`model.layers.${step % 2}`], own ? { optimizerState: own } : {}),
    optimizer,
    data: source(examples(6)),
    batchSize: 2,
    steps: 5,
    ...(optimizerState ? { optimizerState } : {}),
    ...(out ? { out } : {}),
  });
  const { json } = optimizer.state();
  const steps = Object.fromEntries(
    Object.entries((json as { steps: Record<string, number> }).steps).filter(([name]) => name.includes('q_proj')),
  );
  const bytes = optimizer.bytes();
  const values = valuesOf(result);
  result.dispose();
  return { steps, bytes, values };
}

const [q0, q1] = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.1.self_attn.q_proj.weight'];

test('keep: every unit that ever trained has its state and its own step count', async () => {
  expect((await run('keep')).steps).toEqual({ [q0]: 3, [q1]: 2 });
});

test('reset: a unit that is switched on again takes a first step, and only the active unit has state', async () => {
  const reset = await run('reset');
  expect(reset.steps).toEqual({ [q0]: 1 });
  expect(reset.values).not.toEqual((await run('keep')).values);
});

test.each([false, true])(
  'offload: the numbers of keep with the memory of reset (run folder: %s)',
  async (withFolder) => {
    const offload = await run('offload', withFolder ? { out: path.join(temporaryFolder(), 'run') } : {});
    const keep = await run('keep');
    expect(offload.values).toEqual(keep.values);
    expect(offload.steps).toEqual({ [q0]: 3 });
    expect(offload.bytes).toBe((await run('reset')).bytes);
    expect(offload.bytes).toBe(keep.bytes / 2);
  },
);

test("without the option the selector's own policy holds, and keep where it has none", async () => {
  expect((await run(undefined, { own: 'reset' })).steps).toEqual({ [q0]: 1 });
  expect((await run('keep', { own: 'reset' })).steps).toEqual({ [q0]: 3, [q1]: 2 });
  expect((await run(undefined)).steps).toEqual({ [q0]: 3, [q1]: 2 });
});

test('a run without a folder leaves no offloaded state on disk', async () => {
  const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`lft-offload-${process.pid}-`));
  const before = left();
  await run('offload');
  expect(left()).toEqual(before);
});
