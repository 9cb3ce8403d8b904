import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  AdaptedModel,
  type Adapter,
  adamw,
  type Batch,
  type CausalModel,
  collate,
  ensureBackend,
  fineTune,
  fixed,
  type Gate,
  keyedRandom,
  LftError,
  loadModel,
  saveAdapter,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { disagreements, gateDerivatives, parameterDerivatives } from './finite-differences.js';
import { parameterBits } from './parameter-bits.js';
import { resumeTrials } from './resume-trials.js';
import { tinyData } from './tiny-data.js';
import { type TinyModelOptions, tinyModel } from './tiny-model.js';
import { Witness } from './witness.js';

export interface AdapterLawOptions {
  /** Reads what `saveAdapter` wrote. Without it the round trip through a folder is not tested. */
  readonly load?: (folder: string) => Promise<Adapter>;
  /** Every delta at a module with a weight can be built into it. Default true; with false no delta may offer it. */
  readonly mergeable?: boolean;
  /** Its initial values are drawn: another seed gives others. Default false. */
  readonly random?: boolean;
  /** The same kind of adapter with a target that matches nothing: it must be refused. */
  readonly unmatched?: () => Adapter;
  /** The model it is tried on. Default: 2 blocks, width 16, with biases, head not tied. */
  readonly model?: TinyModelOptions;
  /** Rate at which a few steps on one batch lower the loss. Default 1e-2. */
  readonly learningRate?: number;
}

/**
 * The laws of an adapter, as tests: call it at the top of a test file.
 * @param factory makes a new adapter with the same options each time
 */
export function describeAdapter(name: string, factory: () => Adapter, options: AdapterLawOptions = {}): void {
  const { load, mergeable = true, random = false, unmatched, model: modelOptions = {}, learningRate = 1e-2 } = options;
  const rows = [
    [1, 5, 9, 13, 17, 21],
    [4, 4, 31, 0, 2, 30],
  ];

  describe(`${name} as an adapter`, () => {
    let folder = '';
    let temporary = '';
    let model: CausalModel;
    let batch: Batch;
    let freed: () => Promise<void>;
    const open: AdaptedModel[] = [];

    /** The model with the adapter, its parameters moved away from their initial values. */
    function adapted(moved = true, seed = 0, adapter = factory()): AdaptedModel {
      const result = new AdaptedModel(model, adapter, { seed });
      open.push(result);
      if (moved) disturb(result);
      return result;
    }

    const gatesOf = ({ attachments }: AdaptedModel, gate: Gate) =>
      new Map(attachments.map(({ site }) => [site.path, gate] as const));
    function logits(of: AdaptedModel, gates?: ReadonlyMap<string, Gate>): Float32Array {
      const tensor = of.logits(rows, gates ? { gates } : {});
      const values = tensor.dataSync().slice() as Float32Array;
      tensor.dispose();
      return values;
    }
    const bits = ({ parameters }: AdaptedModel) => parameterBits(parameters);
    const baseLogits = () => logits(adapted(false, 0, NOTHING));

    beforeAll(async () => {
      await ensureBackend();
      const tiny = await tinyModel({ blocks: 2, bias: true, ...modelOptions });
      freed = tiny.dispose;
      folder = tiny.folder;
      temporary = await mkdtemp(path.join(tmpdir(), 'lft-adapter-'));
      model = await loadModel(folder);
      const { train } = await data.prepare({ model: model.info, maxLength: 16, seed: 0 });
      batch = collate(train.slice(0, 3), 0);
    });
    afterEach(() => {
      for (const each of open.splice(0)) each.dispose();
    });
    afterAll(async () => {
      await model.dispose();
      await freed();
      await rm(temporary, { recursive: true, force: true });
    });

    const data = tinyData({ examples: 8, validation: 2, vocabulary: modelOptions.vocabulary ?? 32 });
    const training = { steps: 5, batchSize: 4, schedule: 'constant', seed: 5, checkpointEvery: 2 } as const;

    test('its options are JSON', () => {
      const { options: described } = factory();
      expect(JSON.parse(JSON.stringify(described))).toEqual(described);
    });

    test('parameters have names of their own, the same each time, under the path of their module', () => {
      const [one, other] = [adapted(false), adapted(false)];
      const names = one.parameters.map((parameter) => parameter.name);
      expect(names.length).toBeGreaterThan(0);
      expect(new Set(names).size).toBe(names.length);
      expect(other.parameters.map((parameter) => parameter.name)).toEqual(names);
      const strays = one.parameters.filter(
        ({ name: each }) =>
          !one.attachments.some(
            ({ site, delta }) => delta.parameters.some((p) => p.name === each) && each.startsWith(`${site.path}.`),
          ),
      );
      expect(strays.map((parameter) => parameter.name)).toEqual([]);
    });

    test('the same seed gives the same initial values', () => {
      expect(bits(adapted(false, 1))).toBe(bits(adapted(false, 1)));
    });

    if (random) {
      test('another seed gives other initial values', () => {
        expect(bits(adapted(false, 1))).not.toBe(bits(adapted(false, 2)));
      });
    }

    test('attached a second time, it starts from the same initial values', () => {
      const one = adapted(false, 1);
      const initial = bits(one);
      disturb(one);
      expect(bits(one)).not.toBe(initial);
      one.reinitialize();
      expect(bits(one)).toBe(initial);
    });

    if (unmatched) {
      test('a target that matches nothing is refused', () => {
        let refusal: unknown;
        try {
          new AdaptedModel(model, unmatched()).dispose();
        } catch (error) {
          refusal = error;
        }
        expect(LftError.is(refusal) && refusal.code).toBe('target-not-found');
      });
    }

    test('moved parameters move the logits', () => {
      expect(logits(adapted())).not.toEqual(baseLogits());
    });

    test('gate 0 is the base model, bit for bit', () => {
      const one = adapted();
      expect(logits(one, gatesOf(one, 0))).toEqual(baseLogits());
    });

    test('each delta by itself gives the base at gate 0, bit for bit', () => {
      const one = adapted();
      const plain = adapted(false, 0, NOTHING).forward();
      tf.tidy(() => {
        for (const { site, delta } of one.attachments) {
          const ids = tf.tensor1d([3, 1, 4], 'int32');
          const x = site.kind === 'embedding' ? ids : tf.randomNormal([3, site.in], 0, 1, 'float32', 11);
          const base = (input: tf.Tensor): tf.Tensor => {
            if (site.kind === 'embedding') return plain.embedding(site.path, input as tf.Tensor1D);
            return site.kind === 'linear' ? plain.linear(site.path, input as tf.Tensor2D) : input;
          };
          const output = delta.apply?.(x, base, 0, { training: false, seed: () => 0 });
          if (output) expect(output.dataSync()).toEqual(base(x).dataSync());
          for (const tensor of ['weight', 'bias'] as const) {
            const frozen = model.weight(site.path, tensor)?.tensor();
            const changed = frozen && delta.reweight?.(tensor, () => frozen, 0);
            if (changed) expect(changed.dataSync()).toEqual(frozen.dataSync());
          }
        }
      });
    });

    test('a gate that is a tensor of 0 is the base model, too', () => {
      const one = adapted();
      const gate = tf.scalar(0);
      const [gated, base] = [logits(one, gatesOf(one, gate)), baseLogits()];
      gate.dispose();
      // By ===, under which 0 is −0: adding 0 · x may turn a −0 around.
      expect(gated.findIndex((value, i) => value !== base[i])).toBe(-1);
    });

    test('gate 1 is no gate', () => {
      const one = adapted();
      expect(logits(one, gatesOf(one, 1))).toEqual(logits(one));
    });

    test('a gate that is a tensor acts as the number', () => {
      const one = adapted();
      for (const value of [1, 0.25]) {
        const gate = tf.scalar(value);
        // The factor may go to another place of the product: one rounding of f32 on logits of about 1.
        expect(largestDifference(logits(one, gatesOf(one, gate)), logits(one, gatesOf(one, value)))).toBeLessThan(1e-5);
        gate.dispose();
      }
    });

    test(mergeable ? 'merged weights give the logits of the adapter' : 'no delta offers to be merged', () => {
      const one = adapted();
      const withMerge = one.attachments.filter(({ delta }) => delta.merged !== undefined);
      if (!mergeable) {
        expect(withMerge).toEqual([]);
        return;
      }
      expect(withMerge.map(({ site }) => site.path)).toEqual(one.attachments.map(({ site }) => site.path));
      const merged = adapted(false, 0, mergedInto(one));
      // W·x + s·B·(A·x) and (W + s·B·A)·x round differently.
      expect(largestDifference(logits(merged), logits(one))).toBeLessThan(1e-4);
    });

    if (load) {
      test('saved and loaded, it gives the same logits, bit for bit', async () => {
        const one = adapted();
        const saved = path.join(temporary, 'saved');
        await saveAdapter(one, saved);
        expect(logits(adapted(false, 9, await load(saved)))).toEqual(logits(one));
      });
    } else {
      test('it can be saved', async () => {
        await expect(saveAdapter(adapted(), path.join(temporary, 'saved'))).resolves.toBeUndefined();
      });
    }

    test('a few steps on one batch lower the loss, by changes in the selected units only', async () => {
      const witness = new Witness(fixed({ granularity: 'module' }), { optimizer: adamw({ learningRate }) });
      const few = tinyData({ examples: 4, validation: 0 });
      const { selector, optimizer, onProgress } = witness;
      const before = tf.memory().numTensors;
      const request = { ...training, steps: 12, model, data: few, adapter: factory(), selector, optimizer, onProgress };
      const run = await fineTune(request);
      run.dispose();
      expect(run.losses.at(-1)! / run.losses[0]!).toBeLessThan(1);
      expect(witness.problems).toEqual([]);
      expect(new Set(witness.liveTensors).size).toBe(1);
      expect(tf.memory().numTensors).toBe(before);
    });

    test('computing blocks again in the backward gives the same losses', async () => {
      const losses = async (recompute: boolean) => {
        const run = await fineTune({ ...training, model, data, adapter: factory(), recompute });
        run.dispose();
        return run.losses;
      };
      const [kept, recomputed] = [await losses(false), await losses(true)];
      // Sums of gradients from several stages may be added in another order.
      for (const [step, loss] of kept.entries()) expect(Math.abs(recomputed[step]! / loss - 1)).toBeLessThan(1e-6);
    });

    test('a run that crashed or was interrupted goes on to the same bytes', async () => {
      const plugins = () => ({ adapter: factory(), selector: fixed(), optimizer: adamw({ learningRate }) });
      const { whole, trials } = await resumeTrials({ model, data, plugins, training, crashEvery: 2, abortAfter: [3] });
      for (const trial of trials) expect(trial).toEqual({ what: trial.what, record: whole.record });
    });

    describe('its gradients', () => {
      test.each([false, true])('agree with differences of losses, for parameters (recompute %s)', (recompute) => {
        expect(disagreements(parameterDerivatives(adapted(), batch, recompute))).toEqual([]);
      });

      test.each([false, true])('agree with differences of losses, for gates (recompute %s)', (recompute) => {
        expect(disagreements(gateDerivatives(adapted(), batch, recompute))).toEqual([]);
      });
    });
  });
}

const NOTHING: Adapter = { name: 'none', options: {}, attach: () => undefined };

/** Adds normal noise to every parameter: a zero-initialised matrix would hide what stands behind it. */
function disturb({ parameters }: AdaptedModel): void {
  for (const { name, variable } of parameters) {
    const random = keyedRandom(0, 'disturb', name);
    const noise = Float32Array.from({ length: variable.size }, () => 0.1 * random.normal());
    tf.tidy(() => variable.assign(tf.add(variable, tf.tensor(noise, variable.shape))));
  }
}

/** An adapter that computes with the weights into which another was merged. */
function mergedInto({ attachments }: AdaptedModel): Adapter {
  const deltas = new Map(attachments.map(({ site, delta }) => [site.path, delta]));
  return {
    name: 'merged',
    options: {},
    attach({ path: at }) {
      const delta = deltas.get(at);
      if (!delta?.merged) return undefined;
      return { parameters: [], reweight: (tensor, base) => delta.merged!(tensor, base()) };
    },
  };
}

function largestDifference(one: Float32Array, other: Float32Array): number {
  return one.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i]!)), 0);
}
