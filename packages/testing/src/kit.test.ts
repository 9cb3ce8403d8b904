import {
  AdaptedModel,
  type Adapter,
  adamw,
  type CausalModel,
  collate,
  ensureBackend,
  fineTune,
  full,
  type Json,
  type LayerSelector,
  loadModel,
  type SelectorContext,
  type UnitId,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { disagreements, gateDerivatives, parameterDerivatives } from './finite-differences.js';
import { replay } from './selector-replay.js';
import { sublayerAdapter } from './sublayer-adapter.js';
import { tinyData } from './tiny-data.js';
import { type TinyModel, tinyModel } from './tiny-model.js';
import { Witness } from './witness.js';

/** The kit finds plugins that break a law. */
const data = tinyData({ examples: 6, validation: 1 });
let folder: TinyModel;
let model: CausalModel;

beforeAll(async () => {
  await ensureBackend();
  folder = await tinyModel({ blocks: 3, width: 8, inner: 8 });
  model = await loadModel(folder.folder);
});
afterAll(async () => {
  await model.dispose();
  await folder.dispose();
});

/** Takes the blocks in turn; `broken` replaces parts of it. */
function inTurn(broken: (own: { context: SelectorContext; count: number }) => Partial<LayerSelector> = () => ({})) {
  const own = { context: undefined as unknown as SelectorContext, count: 0 };
  const selector: LayerSelector = {
    name: 'in-turn',
    options: {},
    granularity: 'block',
    setup(context) {
      own.context = context;
    },
    select: () => new Set<UnitId>([own.context.units[own.count++ % own.context.units.length]!.id]),
    importance: () => undefined,
    state: () => own.count,
    restore(state: Json) {
      own.count = state as number;
    },
  };
  return Object.assign(selector, broken(own));
}

async function witnessed(selector: LayerSelector, adapter: Adapter = sublayerAdapter()): Promise<Witness> {
  const witness = new Witness(selector);
  const { optimizer, onProgress } = witness;
  const run = await fineTune({
    model,
    data,
    adapter,
    selector: witness.selector,
    optimizer,
    onProgress,
    steps: 4,
    batchSize: 2,
    schedule: 'constant',
  });
  run.dispose();
  return witness;
}

test('a lawful selector has no problems, and goes on from every state', async () => {
  const witness = await witnessed(inTurn());
  expect(witness.problems).toEqual([]);
  for (const from of [0, 1, 2, 3]) expect(await replay(inTurn(), witness, { from })).toEqual([]);
});

test('a selector that forgets a part of its state is found', async () => {
  const forgetful = () => inTurn(() => ({ state: () => 0 }));
  const witness = await witnessed(forgetful());
  expect((await replay(forgetful(), witness, { from: 1 })).join()).toMatch(/choice of step 1/);
});

test('a selector that draws without the seed is found', async () => {
  let calls = 0;
  const careless = () => inTurn((own) => ({ select: () => new Set([own.context.units[calls++ % 2]!.id]) }));
  const witness = await witnessed(careless());
  calls = 1;
  expect(await replay(careless(), witness)).not.toEqual([]);
});

test('a selector that asks the model something else the second time is found', async () => {
  let asked = 0;
  const curious = () =>
    inTurn(() => ({
      async probe(_step, probe) {
        await probe.loss(probe.batch({ size: 1, index: asked++ }));
      },
    }));
  const witness = await witnessed(curious());
  expect((await replay(curious(), witness)).join()).toMatch(/the selector asks for batch .*"index":\d/);
});

test('a selector that changes parameters is found', async () => {
  const meddling = inTurn((own) => ({
    observe() {
      const { variable } = own.context.units[2]!.parameters[0]!;
      tf.tidy(() => variable.assign(tf.add(variable, 1)));
    },
  }));
  expect((await witnessed(meddling)).problems.join()).toMatch(/observe\(0\) changed parameters/);
});

test('a score for something that is no unit is found', async () => {
  const scores = new Map([['model.layers.9', Number.NaN]]);
  const wrong = inTurn(() => ({ importance: () => ({ method: 'wrong', granularity: 'block', scores }) }));
  const { problems } = await witnessed(wrong);
  expect(problems.join()).toMatch(/model\.layers\.9, which is no unit/);
  expect(problems.join()).toMatch(/is NaN/);
});

test('wrong gradients are found, right ones are not', async () => {
  const { train } = await data.prepare({ model: model.info, maxLength: 12, seed: 0 });
  const batch = collate(train.slice(0, 2), 0);
  /** Adds half of the update outside of the tape, so that half of its gradient is missing. */
  const halved: Adapter = {
    name: 'halved',
    options: {},
    attach(site, init) {
      const delta = sublayerAdapter().attach(site, init);
      if (!delta) return undefined;
      return {
        parameters: delta.parameters,
        apply(x, base, gate, pass) {
          const y = delta.apply!(x, base, gate, pass);
          const update = tf.sub(y, x);
          const constant = tf.customGrad((value) => ({
            value: (value as tf.Tensor).clone(),
            gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
          }))(update);
          return tf.add(x, tf.mul(0.5, tf.add(update, constant)));
        },
      };
    },
  };
  const [right, wrong] = [new AdaptedModel(model, sublayerAdapter()), new AdaptedModel(model, halved)];
  expect(disagreements(parameterDerivatives(right, batch, false))).toEqual([]);
  expect(disagreements(parameterDerivatives(wrong, batch, false)).length).toBeGreaterThan(2);
  expect(disagreements(gateDerivatives(wrong, batch, true)).length).toBeGreaterThan(2);
  right.dispose();
  wrong.dispose();
});

test('fixtures: the same options give the same model and the same data', async () => {
  const again = await tinyModel({ blocks: 3, width: 8, inner: 8 });
  const other = await tinyModel({ blocks: 3, width: 8, inner: 8, seed: 1 });
  const fingerprints = [];
  for (const { folder: each } of [again, other]) {
    const loaded = await loadModel(each);
    fingerprints.push(loaded.info.fingerprint);
    await loaded.dispose();
  }
  expect(fingerprints[0]).toBe(model.info.fingerprint);
  expect(fingerprints[1]).not.toBe(model.info.fingerprint);
  const request = { model: model.info, maxLength: 9, seed: 0 };
  expect(await tinyData().prepare(request)).toEqual(await tinyData().prepare(request));
  expect((await tinyData().prepare(request)).train.every(({ ids }) => ids.length <= 9)).toBe(true);
  await again.dispose();
  await other.dispose();
});

test('the tiny model learns the tiny data', async () => {
  const optimizer = adamw({ learningRate: 2e-2 });
  const run = await fineTune({ model, data: tinyData(), adapter: full(), optimizer, steps: 40, seed: 1 });
  expect(run.losses.at(-1)! / run.losses[0]!).toBeLessThan(0.8);
  run.dispose();
});
