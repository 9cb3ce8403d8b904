import { readdirSync } from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { removeFolders, temporaryFolder, UNTIED } from '../__testing__/model-folder.js';
import { expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { choosing, example, examples, source, valuesOf } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { Adapter } from '../contracts/adapter.js';
import { Parameter } from '../contracts/parameter.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import * as ops from '../ops/index.js';
import { adamw } from '../optimizer/adamw.js';
import { type FineTuneOptions, fineTune } from './fine-tune.js';
import { PrefixCache } from './prefix-cache.js';

let model: CausalModel;
beforeAll(async () => {
  await useBackend('wasm');
  model = await loadModel(UNTIED);
});
afterAll(async () => {
  await model.dispose();
  removeFolders();
});

const EXAMPLES = 6;
/** So little that no example fits. */
const NOTHING = 1e-9;
const top = () => choosing(() => ['model.layers.2', 'model.norm']);
/** Two packed documents among rows of other lengths. */
const rows = [...examples(EXAMPLES - 1), { ...example(40, 9), segments: Int32Array.from([0, 0, 0, 0, 1, 1, 1, 1, 1]) }];

/** Three epochs of three steps; blocks counts the calls of each block in each step. */
async function train(options: Partial<FineTuneOptions> = {}) {
  const blocks: number[][] = [];
  const counted: CausalModel = Object.create(model, {
    block: {
      value: (...args: Parameters<CausalModel['block']>) => {
        blocks.at(-1)![args[0]]! += 1;
        return model.block(...args);
      },
    },
  });
  const notices: string[] = [];
  const run = await fineTune({
    model: counted,
    adapter: full(),
    selector: top(),
    optimizer: adamw({ learningRate: 1e-2 }),
    data: source(rows),
    batchSize: 2,
    steps: 9,
    schedule: 'constant',
    onProgress(event) {
      if (event.kind === 'start' || event.kind === 'step') blocks.push([0, 0, 0]);
      if (event.kind === 'notice') notices.push(event.message);
    },
    ...options,
  });
  const result = { values: valuesOf(run), losses: run.losses, blocks: blocks.slice(0, -1), notices };
  run.dispose();
  return result;
}

test('blocks below the lowest that trains run once for each example, then never again', async () => {
  const { blocks, notices } = await train({ prefixCache: 1 });
  expect(blocks).toEqual([...Array(3).fill([2, 2, 1]), ...Array(6).fill([0, 0, 1])]);
  expect(notices).toEqual([]);
});

test('whether states are read or computed does not show in a bit', async () => {
  const all = await train({ prefixCache: 1 });
  // 32 values of 2 bytes for each of 4 to 12 tokens: three of the six examples.
  const some = await train({ prefixCache: 2e-6 });
  const none = await train({ prefixCache: NOTHING });
  for (const each of [some, none]) expect([each.values, each.losses]).toEqual([all.values, all.losses]);
  expect(none.blocks).toEqual(Array(9).fill([2, 2, 1]));
  const computed = some.blocks.slice(3).reduce((sum, [first]) => sum + first!, 0) / 2;
  expect(computed).toBeGreaterThan(0);
  expect(computed).toBeLessThan(EXAMPLES);
  expect(none.notices).toEqual([expect.stringMatching(/is full \(prefixCache\), after 0 examples/)]);
  expect(some.notices).toHaveLength(1);
});

test('rounding the states to bf16 changes the losses by less than 1 %', async () => {
  const [cached, exact] = [await train({ prefixCache: 1 }), await train()];
  expect(exact.blocks).toEqual(Array(9).fill([1, 1, 1]));
  // bf16 keeps 8 bits: 0.4 % of a value, and errors of many values cancel.
  for (const [step, loss] of exact.losses.entries())
    expect(Math.abs(cached.losses[step]! / loss - 1)).toBeLessThan(1e-2);
  expect(cached.losses).not.toEqual(exact.losses);
});

test('when a lower block has trained, what was kept is not used again', async () => {
  const selector = () => choosing((step) => (step === 4 ? ['model.layers.1'] : ['model.layers.2']));
  const [kept, none] = [
    await train({ prefixCache: 1, selector: selector() }),
    await train({ prefixCache: NOTHING, selector: selector() }),
  ];
  expect([kept.values, kept.losses]).toEqual([none.values, none.losses]);
  expect(kept.blocks.slice(3, 5)).toEqual([
    [0, 0, 1],
    [2, 1, 1],
  ]);
  // Afterwards every example is computed once more.
  expect(kept.blocks.slice(5).reduce((sum, [first]) => sum + first!, 0)).toBe(EXAMPLES);
});

test('where block 0 or the embedding trains there is nothing to keep', async () => {
  const selector = () => choosing(() => ['model.layers.0']);
  const [on, off] = [await train({ prefixCache: 1, selector: selector() }), await train({ selector: selector() })];
  expect([on.values, on.losses, on.blocks]).toEqual([off.values, off.losses, off.blocks]);
});

/** A factor 1 + w of each sublayer, w from a dropped-out mask of ones. */
function dropping(): Adapter {
  return {
    name: 'dropping',
    options: {},
    attach(site) {
      if (site.kind !== 'sublayer') return undefined;
      const w = new Parameter(`${site.path}.w`, tf.fill([site.out], 0.1));
      const apply: NonNullable<ReturnType<Adapter['attach']>>['apply'] = (x, base, gate, pass) => {
        const factor = pass.training ? ops.dropout(x, 0.5, pass.seed('mask')) : x;
        return tf.add(base(x), tf.mul(tf.mul(factor, w.variable), gate));
      };
      return { parameters: [w], apply };
    },
  };
}

test('dropout below the lowest that trains is not frozen: nothing is cached, and a notice says so', async () => {
  const selector = () => choosing(() => ['model.layers.2']);
  const on = await train({ prefixCache: 1, adapter: dropping(), selector: selector() });
  const off = await train({ adapter: dropping(), selector: selector() });
  expect([on.values, on.losses]).toEqual([off.values, off.losses]);
  expect(on.notices).toEqual([expect.stringMatching(/something random \(dropout\) acts/)]);
});

test('an adapter that acts after steps may change what is frozen, so it is refused', async () => {
  const adapter = () => ({ ...full(), afterStep() {} });
  await expectNoTensorsLeft(async () => {
    await expect(train({ prefixCache: 1, adapter: adapter() })).rejects.toMatchObject({
      code: 'options-invalid',
      message: expect.stringMatching(/^prefixCache does not go with the adapter full/),
    });
  });
});

test('a disk that takes nothing stops the caching and not the run', async () => {
  const notices: string[] = [];
  const file = path.join(__filename, 'states');
  const cache = new PrefixCache({ file, limit: 1e9, notice: (message) => notices.push(message) });
  await expectNoTensorsLeft(async () => {
    for (let time = 0; time < 2; time++) {
      const compute = () => ({ states: tf.fill([4, 3], 1.001) as tf.Tensor2D, random: false });
      const states = await cache.states(1, [example(0, 4)], { rows: 1, length: 5, starts: [0] }, compute);
      // The nearest bf16, and padding.
      expect([...states!.dataSync()]).toEqual([...Array(12).fill(1), 0, 0, 0]);
      states!.dispose();
    }
  });
  await cache.close();
  expect(notices).toEqual([expect.stringMatching(/^activations cannot be cached any more \(E(NOTDIR|EXIST)/)]);
});

test('nothing of the cache is left in the folder of the run', async () => {
  const out = path.join(temporaryFolder(), 'run');
  const { values } = await train({ prefixCache: 1, out });
  expect(readdirSync(out).sort()).toEqual([
    'checkpoints',
    'config.json',
    'importance.json',
    'importance.jsonl',
    'metrics.jsonl',
    'timings.jsonl',
  ]);
  expect(Object.keys(values).length).toBeGreaterThan(0);
});
