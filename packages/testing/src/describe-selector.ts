import {
  type Adapter,
  adamw,
  type CausalModel,
  ensureBackend,
  fineTune,
  full,
  keyedRandom,
  type LayerSelector,
  LftError,
  loadModel,
  type Run,
  type TrainingOptions,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { isPass } from './probe-transcript.js';
import { resumeTrials } from './resume-trials.js';
import { replay } from './selector-replay.js';
import { sublayerAdapter } from './sublayer-adapter.js';
import { tinyData } from './tiny-data.js';
import { type TinyModel, tinyModel } from './tiny-model.js';
import { Witness } from './witness.js';

export interface SelectorLawOptions {
  /** Steps of a run, enough that everything the selector does happens. Default 8. */
  readonly steps?: number;
  /** Decoder blocks of the tiny model. Default 5. */
  readonly blocks?: number;
  /** The fewest blocks that the selector can work with; with fewer it must refuse at setup. Default 1. */
  readonly leastBlocks?: number;
  /** Its choices are drawn: another seed gives others. Default false. */
  readonly random?: boolean;
  /** What it is trained with, by name. Default: full fine-tuning, and an adapter at the sublayers alone. */
  readonly adapters?: Readonly<Record<string, () => Adapter>>;
}

const MARK = 'the pass was made to fail';

/**
 * The laws of a layer selector, as tests: call it at the top of a test file.
 * @param factory makes a new selector with the same options each time
 */
export function describeSelector(name: string, factory: () => LayerSelector, options: SelectorLawOptions = {}): void {
  const { steps = 8, blocks = 5, leastBlocks = 1, random = false } = options;
  const { adapters = { full, sublayer: sublayerAdapter } } = options;
  const data = tinyData({ examples: 12, validation: 3 });
  const training = { steps, batchSize: 3, seed: 7, schedule: 'constant', checkpointEvery: 3 } as const;

  /** One run with everything written down. */
  async function witnessed(
    model: CausalModel,
    adapter: Adapter,
    more: TrainingOptions & { beforeQuestion?: (question: string) => void } = {},
  ): Promise<{ witness: Witness; run: Run }> {
    const { beforeQuestion, ...rest } = more;
    const witness = new Witness(factory(), beforeQuestion ? { beforeQuestion } : {});
    const { selector, optimizer, onProgress } = witness;
    const run = await fineTune({ model, data, adapter, selector, optimizer, onProgress, ...training, ...rest });
    return { witness, run };
  }

  describe(`${name} as a selector`, () => {
    const folders: TinyModel[] = [];
    const models: CausalModel[] = [];
    async function tiny(count: number): Promise<CausalModel> {
      const folder = await tinyModel({ blocks: count, width: 8, inner: 8 });
      folders.push(folder);
      const model = await loadModel(folder.folder);
      models.push(model);
      return model;
    }
    let model: CausalModel;

    beforeAll(async () => {
      await ensureBackend();
      model = await tiny(blocks);
    });
    afterAll(async () => {
      for (const each of models) await each.dispose();
      for (const each of folders) await each.dispose();
    });

    test('its options are JSON, and name and granularity stay', () => {
      const [one, other] = [factory(), factory()];
      expect(JSON.parse(JSON.stringify(one.options))).toEqual(one.options);
      expect([one.name, one.granularity, one.options]).toEqual([other.name, other.granularity, other.options]);
    });

    for (const [adapterName, adapter] of Object.entries(adapters)) {
      describe(`with the adapter ${adapterName}`, () => {
        let witness: Witness;
        let run: Run;
        let tensors = 0;
        beforeAll(async () => {
          tensors = tf.memory().numTensors;
          ({ witness, run } = await witnessed(model, adapter()));
          run.dispose();
        });

        test('chooses known units, never none, changes no parameter, and what it chose is what changes', () => {
          expect(witness.problems).toEqual([]);
        });

        test('every step of the run was trained, with finite losses', () => {
          expect(run.losses.filter(Number.isFinite)).toHaveLength(steps);
        });

        test('every state is JSON to the last bit', () => {
          const selector = factory();
          for (const { state } of witness.steps) expect(JSON.stringify(JSON.parse(state))).toBe(state);
          expect(selector.state()).toStrictEqual(JSON.parse(JSON.stringify(selector.state())));
        });

        test('the same seed gives the same choices', async () => {
          expect(await replay(factory(), witness)).toEqual([]);
        });

        test('from its state before any step it goes on in the same way', async () => {
          for (let from = 0; from < steps; from++) {
            expect({ from, differences: await replay(factory(), witness, { from }) }).toEqual({
              from,
              differences: [],
            });
          }
        });

        test('as many tensors live after every step', () => {
          expect(new Set(witness.liveTensors).size).toBe(1);
        });

        test('no tensor outlives the run', () => {
          expect(tf.memory().numTensors).toBe(tensors);
        });

        test('recomputing activations gives the same choices', async () => {
          const again = await witnessed(model, adapter(), { recompute: true });
          again.run.dispose();
          const chosen = ({ steps }: Witness) => steps.map(({ selected }) => selected.join());
          expect(chosen(again.witness)).toEqual(chosen(witness));
        });

        test('a pass that fails leaves parameters and tensors as they were', async () => {
          const passes = [...witness.steps.flatMap(({ questions }) => questions), ...(witness.last?.questions ?? [])];
          const count = passes.filter(isPass).length;
          for (const failing of count > 0 ? [...new Set([0, Math.floor(count / 2), count - 1])] : []) {
            let passed = 0;
            const beforeQuestion = (asked: string) => {
              if (isPass({ asked, answer: undefined }) && passed++ === failing) throw new Error(MARK);
            };
            const stopped = new Witness(factory(), { beforeQuestion });
            const { selector, optimizer } = stopped;
            await expect(
              fineTune({ model, data, adapter: adapter(), selector, optimizer, ...training }),
            ).rejects.toThrow(MARK);
            expect(stopped.problems).toEqual([]);
            expect(tf.memory().numTensors).toBe(tensors);
          }
        });

        test.each(['reset', 'keep', 'offload'] as const)(
          'a run that crashed or was interrupted goes on to the same bytes, with optimizer state %s',
          async (optimizerState) => {
            const { whole, trials } = await resumeTrials({
              model,
              data,
              plugins: () => ({ adapter: adapter(), selector: factory(), optimizer: adamw({ learningRate: 1e-2 }) }),
              training: { ...training, optimizerState },
              crashEvery: 2,
            });
            for (const trial of trials) expect(trial).toEqual({ what: trial.what, record: whole.record });
          },
        );
      });
    }

    if (random) {
      test('another seed gives other choices', async () => {
        const context = (seed: number) => ({
          ...first.context!,
          random: (purpose: string, ...keys: readonly (string | number)[]) => keyedRandom(seed, purpose, ...keys),
        });
        const { witness: first, run } = await witnessed(model, Object.values(adapters)[0]!());
        run.dispose();
        const results = await Promise.all(
          [1, 2, 3, 4, 5].map((seed) => replay(factory(), first, { context: context(seed) })),
        );
        expect(results.some((differences) => differences.length > 0)).toBe(true);
      });
    }

    test.each([1, 2, 3])('with %i blocks it works, or refuses at setup and says why', async (count) => {
      const small = await tiny(count);
      const work = witnessed(small, Object.values(adapters)[0]!());
      if (count < leastBlocks) {
        const error = await work.then(
          ({ run }) => run.dispose(),
          (reason: unknown) => reason,
        );
        expect(LftError.is(error) && error.code).toMatch(/^selector-/);
        return;
      }
      const { witness, run } = await work;
      run.dispose();
      expect(witness.problems).toEqual([]);
    });
  });
}
