import fs from 'node:fs/promises';
import path from 'node:path';
import { editedModel, removeFolders, TIED, temporaryFolder } from '../__testing__/model-folder.js';
import { expectNoTensorsLeft } from '../__testing__/op-laws.js';
import { breakable, examples, readLines, snapshot, source, valuesOf } from '../__testing__/run-parts.js';
import { full } from '../adapters/full.js';
import { useBackend } from '../backend/use-backend.js';
import type { LftError } from '../errors/lft-error.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { adamw } from '../optimizer/adamw.js';
import { type FineTuneOptions, fineTune } from './fine-tune.js';

let model: CausalModel;
beforeAll(async () => {
  await useBackend('wasm');
  model = await loadModel(TIED);
});
afterAll(async () => {
  await model.dispose();
  removeFolders();
});
afterEach(() => jest.restoreAllMocks());

const newFolder = () => path.join(temporaryFolder(), 'run');
const run = (options: Partial<FineTuneOptions> = {}) =>
  fineTune({
    model,
    adapter: full(),
    data: source(examples(6)),
    batchSize: 2,
    steps: 5,
    checkpointEvery: 2,
    ...options,
  });
const failure = (work: Promise<unknown>) =>
  work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error) => error as LftError,
  );

/** The parameters and metrics of a run that nothing disturbs. */
async function undisturbed() {
  const out = newFolder();
  const result = await run({ out });
  const values = valuesOf(result);
  result.dispose();
  return { values, metrics: readLines(out, 'metrics.jsonl') };
}

async function resumed(out: string, options: Partial<FineTuneOptions> = {}) {
  const result = await run({ ...options, out, resume: true });
  const values = valuesOf(result);
  result.dispose();
  return { values, metrics: readLines(out, 'metrics.jsonl') };
}

describe('a loss that is not finite', () => {
  test('stops the run before the parameters change, names step and checkpoint, and the run can go on', async () => {
    const out = newFolder();
    let step = 0;
    let updates = 0;
    const optimizer = adamw();
    const original = optimizer.step.bind(optimizer);
    optimizer.step = (...args) => {
      updates += 1;
      original(...args);
    };
    const error = await failure(
      expectNoTensorsLeft(() =>
        run({
          out,
          optimizer,
          adapter: breakable(full(), () => step === 3),
          onProgress: (event) => {
            if (event.kind === 'step') step = event.step + 1;
          },
        }),
      ),
    );
    const checkpoint = path.join(out, 'checkpoints/step-000002');
    expect(error).toMatchObject({ code: 'loss-not-finite', facts: { step: 3, checkpoint } });
    expect(error.message).toMatch(/^step 3: the loss is NaN, so the run stopped there/);
    expect(error.message).toContain(`The last good checkpoint is ${checkpoint}.`);
    expect(updates).toBe(3);
    expect(await resumed(out)).toEqual(await undisturbed());
  });

  test('leaves no tensor behind', async () => {
    await expectNoTensorsLeft(async () => {
      expect((await failure(run({ adapter: breakable(full(), () => true) }))).code).toBe('loss-not-finite');
    });
  });

  test('in the first step says that nothing was saved', async () => {
    const folder = await editedModel(TIED, {
      tensors: (tensors) => {
        tensors.get('model.layers.1.mlp.up_proj.weight')!.values[7] = Number.NaN;
      },
    });
    const broken = await loadModel(folder);
    const error = await failure(run({ model: broken, out: newFolder() }));
    expect(error).toMatchObject({ code: 'loss-not-finite', facts: { step: 0, checkpoint: undefined } });
    expect(error.message).toMatch(/step 0: the loss is NaN.*There is no good checkpoint before it/);
    expect((await failure(run({ model: broken }))).message).toMatch(/Nothing was saved: the run has no folder/);
    await broken.dispose();
  });

  test('on held-out examples after the last step stops the run too, before it counts as finished', async () => {
    let trained = false;
    const error = await failure(
      run({
        out: newFolder(),
        steps: 1,
        adapter: breakable(full(), () => trained),
        onProgress: (event) => {
          trained ||= event.kind === 'step';
        },
        data: source(examples(8), examples(4, 8)),
      }),
    );
    expect(error).toMatchObject({ code: 'loss-not-finite', facts: { step: 1 } });
    expect(error.message).toMatch(/^step 1: the loss on held-out examples is /);
  });

  test('does not call the checkpoint good that holds the parameters it came of', async () => {
    const out = newFolder();
    const error = await failure(
      run({ out, checkpointEvery: 1, keepCheckpoints: 5, optimizer: adamw({ learningRate: 1e30 }) }),
    );
    // Step 0 throws the parameters to 1e30; what was saved after it gives this loss again.
    expect(error).toMatchObject({ code: 'loss-not-finite', facts: { step: 1, checkpoint: undefined } });
    expect(error.message).toContain(
      `${path.join(out, 'checkpoints/step-000001')} holds the parameters that this came of`,
    );
  });
});

describe('a full disk', () => {
  const full28 = () => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });

  test('while a line is logged is an error that says so; the checkpoint before it stays and can be gone on from', async () => {
    const out = newFolder();
    const append = fs.appendFile;
    jest.spyOn(fs, 'appendFile').mockImplementation(async (file, data) => {
      // Part of the line gets through, as on a real disk.
      if (String(data).includes('"step":3')) {
        await append(file, String(data).slice(0, 9));
        throw full28();
      }
      return append(file, data);
    });
    const error = await failure(run({ out }));
    expect(error.code).toBe('output-not-writable');
    expect(error.message).toMatch(/metrics\.jsonl cannot be written: the disk is full/);
    jest.restoreAllMocks();
    expect(await resumed(out)).toEqual(await undisturbed());
  });

  test.each(['parameters.safetensors', 'optimizer.safetensors', 'state.json'])(
    'while the %s of a checkpoint is written leaves the checkpoint before it as it was',
    async (name) => {
      const out = newFolder();
      const open = fs.open;
      let before: Record<string, string> = {};
      let failing = '';
      jest.spyOn(fs, 'open').mockImplementation(async (file, ...rest) => {
        const handle = await open(file, ...rest);
        if (failing && String(file).includes('.writing-step-000004') && failing === name) {
          handle.write = async () => {
            throw full28();
          };
        }
        return handle;
      });
      const order = ['parameters.safetensors', 'optimizer.safetensors', 'state.json'];
      const rename = fs.rename;
      // The files of a checkpoint come one after another: the next one to be written is the one after the last that was renamed.
      jest.spyOn(fs, 'rename').mockImplementation(async (from, to) => {
        await rename(from, to);
        const done = order.indexOf(path.basename(String(to)));
        if (done >= 0) failing = order[done + 1] ?? '';
        if (/step-000002$/.test(String(to))) {
          before = snapshot(path.join(out, 'checkpoints'));
          failing = order[0]!;
        }
      });
      const error = await failure(run({ out }));
      expect(error).toMatchObject({ code: 'output-not-writable', message: expect.stringMatching(/the disk is full/) });
      jest.restoreAllMocks();
      expect(Object.keys(before)).not.toHaveLength(0);
      expect(snapshot(path.join(out, 'checkpoints'))).toEqual(before);
      expect(await resumed(out)).toEqual(await undisturbed());
    },
  );
});
