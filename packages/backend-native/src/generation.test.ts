import { readFileSync } from 'node:fs';
import path from 'node:path';
import { AdaptedModel, generate, type KeyValueCache, keyedRandom, loadModel } from '@lft/core';
import { lora } from '@lft/lora';
import { tinyModel } from '@lft/testing';
import * as tf from '@tensorflow/tfjs-core';
import { nativeProblem, useNative } from './index.js';
import type { NativeBackend } from './native-backend.js';

const FOLDER = path.join(__dirname, '../../../models/stories260K');
interface Reference {
  prompts: { input_ids: number[]; greedy_new_ids?: number[] }[];
}
const { prompts }: Reference = JSON.parse(readFileSync(path.join(FOLDER, 'reference.json'), 'utf8'));
const TOKENS = 48;

const problem = nativeProblem();
(problem ? describe.skip : describe)('generation on the native backend', () => {
  beforeAll(() => useNative());

  /** The logits of whole passes, without a cache, at every position from the last of the prompt on. */
  async function wholePasses(model: AdaptedModel, prompt: number[], tokens: number[]): Promise<number[][]> {
    const logits = model.logits([[...prompt, ...tokens]]);
    const [rows] = (await logits.array()) as [number[][]];
    logits.dispose();
    return rows.slice(prompt.length - 1, -1);
  }

  test('f32: each greedy token is the likeliest of a whole pass without a cache', async () => {
    const base = await loadModel(FOLDER);
    const model = new AdaptedModel(base);
    for (const { input_ids } of prompts) {
      const tokens = await generate(model, input_ids, { maxNewTokens: TOKENS, stopIds: [] });
      const rows = await wholePasses(model, input_ids, tokens);
      expect(rows.map((row) => row.indexOf(row.reduce((a, b) => Math.max(a, b))))).toEqual(tokens);
    }
    await base.dispose();
  });

  test.each(['bf16', 'int8', 'nf4'] as const)('%s: the same, up to rounding', async (weights) => {
    const base = await loadModel(FOLDER, { weights });
    const model = new AdaptedModel(base);
    for (const { input_ids } of prompts) {
      const tokens = await generate(model, input_ids, { maxNewTokens: TOKENS, stopIds: [] });
      const rows = await wholePasses(model, input_ids, tokens);
      // Logits go up to 17, and activations have 8 bits of mantissa; for int8, whole passes round them to 8 bits too.
      for (const [i, row] of rows.entries()) {
        expect(row.reduce((a, b) => Math.max(a, b)) - row[tokens[i]!]!).toBeLessThan(0.5);
      }
    }
    await base.dispose();
  });

  test.each(['f32', 'bf16', 'int8', 'nf4'] as const)(
    '%s: a block in one piece gives the bits of its operations',
    async (weights) => {
      // nf4's products take rows of whole blocks.
      const even =
        weights === 'nf4' ? await tinyModel({ width: 64, inner: 128, heads: 4, contextLength: 256 }) : undefined;
      const base = await loadModel(even?.folder ?? FOLDER, { weights });
      const decodeBlock = jest.spyOn((tf.backend() as NativeBackend).addon, 'decodeBlock');
      const pass = new AdaptedModel(base).forward();
      const draws = (tokens: number) => {
        const random = keyedRandom(3, `x ${tokens}`);
        return tf.tensor2d(
          Float32Array.from({ length: tokens * base.info.width }, () => random.normal()),
          [tokens, base.info.width],
        );
      };
      for (const past of [5, 200]) {
        tf.tidy(() => {
          // What the cache has after a prompt, in the format in which it is held.
          let entry: { k: tf.Tensor4D; v: tf.Tensor4D } | undefined;
          const prompt: KeyValueCache = {
            length: 0,
            entry: () => undefined,
            replace: () => undefined,
            append: (_, k, v) => {
              entry = { k, v };
              return entry;
            },
          };
          base.block(0, draws(past), base.geometry({ batch: 1, length: past }), pass, prompt);
          const before = entry!;
          const append = (x: tf.Tensor, more: tf.Tensor) =>
            tf.engine().runKernel('LftAppend', { x, more }, {}) as unknown as tf.Tensor4D;
          const single: KeyValueCache = {
            ...prompt,
            append: (_, k, v) => {
              entry = { k: append(before.k, k), v: append(before.v, v) };
              return entry;
            },
          };
          const whole: KeyValueCache = {
            ...prompt,
            entry: () => before,
            replace: (_, after) => {
              entry = after;
            },
          };
          const results = [single, whole].map((cache) => {
            const y = base.block(0, draws(1), base.geometry({ batch: 1, length: 1, past }), pass, cache);
            return [y, entry!.k, entry!.v].map((x) => x.dataSync());
          });
          expect(results[1]).toEqual(results[0]);
        });
      }
      expect(decodeBlock).toHaveBeenCalledTimes(2);
      decodeBlock.mockRestore();
      await base.dispose();
      await even?.dispose();
    },
  );

  test('where an adapter acts in a block, its operations run one by one; elsewhere they do not', async () => {
    const base = await loadModel(FOLDER);
    const decodeBlock = jest.spyOn((tf.backend() as NativeBackend).addon, 'decodeBlock');
    const model = new AdaptedModel(base, lora({ targets: ['q_proj'] }));
    const { input_ids } = prompts[0]!;
    // B is zero at first: the model is the base.
    const tokens = await generate(model, input_ids, { maxNewTokens: TOKENS, stopIds: [] });
    expect(decodeBlock).not.toHaveBeenCalled();
    expect(await generate(new AdaptedModel(base), input_ids, { maxNewTokens: TOKENS, stopIds: [] })).toEqual(tokens);
    expect(decodeBlock).toHaveBeenCalledTimes((TOKENS - 1) * base.info.blocks);
    decodeBlock.mockRestore();
    model.dispose();
    await base.dispose();
  });

  test('no memory is left behind', async () => {
    const base = await loadModel(FOLDER);
    const model = new AdaptedModel(base);
    const before = [tf.memory().numTensors, (tf.backend() as NativeBackend).addon.bytesInUse()];
    await generate(model, prompts[0]!.input_ids, { maxNewTokens: TOKENS, stopIds: [] });
    expect([tf.memory().numTensors, (tf.backend() as NativeBackend).addon.bytesInUse()]).toEqual(before);
    await base.dispose();
  });

  test('rows behind a tensor leave it as it is, and two that are put behind the same one each other', () => {
    const draws = (name: string, rows: number) => {
      const random = keyedRandom(1, name);
      return tf.tensor4d(
        Float32Array.from({ length: rows * 6 }, () => random.normal()),
        [1, rows, 2, 3],
      );
    };
    const append = (x: tf.Tensor, more: tf.Tensor) =>
      tf.engine().runKernel('LftAppend', { x, more }, {}) as unknown as tf.Tensor;
    const values = (x: tf.Tensor) => Array.from(x.dataSync());
    const inUse = () => (tf.backend() as NativeBackend).addon.bytesInUse();
    const before = inUse();
    tf.tidy(() => {
      const [a, b, c, d] = [draws('a', 5), draws('b', 1), draws('c', 1), draws('d', 40)];
      const ab = append(a, b);
      const abc = append(ab, c);
      const abb = append(ab, b);
      const abcd = append(abc, d);
      const doubled = tf.mul(ab, 2);
      const parts = [a, b, c, d].map(values) as [number[], number[], number[], number[]];
      expect(values(ab)).toEqual([...parts[0], ...parts[1]]);
      expect(values(abc)).toEqual([...parts[0], ...parts[1], ...parts[2]]);
      expect(values(abb)).toEqual([...parts[0], ...parts[1], ...parts[1]]);
      expect(values(abcd)).toEqual(parts.flat());
      expect(abcd.shape).toEqual([1, 47, 2, 3]);
      expect(values(doubled)).toEqual([...parts[0], ...parts[1]].map((x) => 2 * x));
      ab.dispose();
      expect(values(append(abc, b))).toEqual([...parts[0], ...parts[1], ...parts[2], ...parts[1]]);
    });
    expect(inUse()).toBe(before);
  });
});

if (problem) test.skip(problem, () => undefined);
