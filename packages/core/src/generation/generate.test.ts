import { readFileSync } from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { useBackend } from '../backend/use-backend.js';
import { AdaptedModel } from '../models/adapted-model.js';
import type { CausalModel } from '../models/causal-model.js';
import { loadModel } from '../models/load-model.js';
import { keyedRandom } from '../random/keyed-random.js';
import { generate } from './generate.js';
import { sampleToken } from './sample-token.js';

const FOLDER = path.join(__dirname, '../../../../models/stories260K');
interface Reference {
  prompts: {
    text: string;
    input_ids: number[];
    loss: number;
    last_logits: number[];
    greedy_ids?: number[];
    greedy_new_ids?: number[];
  }[];
}
const reference: Reference = JSON.parse(readFileSync(path.join(FOLDER, 'reference.json'), 'utf8'));

describe('stories260K, as transformers runs it', () => {
  let base: CausalModel;
  let model: AdaptedModel;
  beforeAll(async () => {
    await useBackend('wasm');
    base = await loadModel(FOLDER);
    model = new AdaptedModel(base);
  });
  afterAll(() => base.dispose());

  test('last logits of every prompt to 1e-4', async () => {
    for (const prompt of reference.prompts) {
      const logits = model.logits([prompt.input_ids]);
      const values = ((await logits.array()) as number[][][])[0]!.at(-1)!;
      for (const [id, expected] of prompt.last_logits.entries())
        expect(Math.abs(values[id]! - expected)).toBeLessThan(1e-4);
      logits.dispose();
    }
  });

  test('64 greedy tokens are the same, and no tensor is left behind', async () => {
    const before = tf.memory().numTensors;
    for (const prompt of reference.prompts) {
      const expected = Object.entries(prompt).find(
        ([key]) => key.startsWith('greedy') && key.endsWith('ids'),
      )![1] as number[];
      const fresh = expected.length > 64 ? expected.slice(prompt.input_ids.length) : expected;
      expect(await generate(model, prompt.input_ids, { maxNewTokens: fresh.length, stopIds: [] })).toEqual(fresh);
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  test('sampling is seeded: the same seed gives the same text, another seed another', async () => {
    const run = (seed: number) => generate(model, [1, 403], { maxNewTokens: 24, temperature: 1, topP: 0.95, seed });
    const first = await run(1);
    expect(await run(1)).toEqual(first);
    expect(await run(2)).not.toEqual(first);
  });

  test('bf16 weights give nearly the same logits at half the memory', async () => {
    const packed = await loadModel(FOLDER, { weights: 'bf16' });
    const a = model.logits([reference.prompts[0]!.input_ids]);
    const b = new AdaptedModel(packed).logits([reference.prompts[0]!.input_ids]);
    // bf16 has 8 bits of mantissa: a relative error of 2^-9 per weight, on logits up to 17.
    expect(tf.tidy(() => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!)).toBeLessThan(0.25);
    expect(packed.info.fingerprint).toBe(base.info.fingerprint);
    tf.dispose([a, b]);
    await packed.dispose();
  });
});

describe('sampleToken', () => {
  const logits = Float32Array.from([0, 1, 2, 3]);
  const share = (topP: number, temperature = 1) => {
    const random = keyedRandom(0, 'test');
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) counts[sampleToken(logits, { temperature, topP }, random)]! += 1 / 4000;
    return counts;
  };

  test('draws in proportion to softmax', () => {
    for (const [id, p] of [0.032, 0.087, 0.237, 0.644].entries()) expect(share(1)[id]).toBeCloseTo(p, 1);
  });

  test('topP keeps the smallest set of likeliest tokens that reaches it', () => {
    expect(share(0.6)).toEqual([0, 0, 0, expect.closeTo(1)]);
    expect(share(0.8).slice(0, 2)).toEqual([0, 0]);
    expect(share(0.8)[2]).toBeCloseTo(0.27, 1);
  });

  test('temperature 0 takes the likeliest, ties to the lower id', () => {
    expect(sampleToken(Float32Array.from([1, 5, 5]), { temperature: 0, topP: 1 }, keyedRandom(0))).toBe(1);
  });
});
