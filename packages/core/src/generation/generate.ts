import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { ensureBackend } from '../backend/use-backend.js';
import { LftError } from '../errors/lft-error.js';
import { parseOptions } from '../errors/parse-options.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import { keyedRandom } from '../random/keyed-random.js';
import { GrowingCache } from './growing-cache.js';
import { sampleToken } from './sample-token.js';

export const generateOptions = z.object({
  maxNewTokens: z.number().int().positive().default(128).describe('longest answer in tokens'),
  temperature: z.number().min(0).default(0).describe('0: the likeliest token each time; higher: more varied'),
  topP: z.number().gt(0).max(1).default(1).describe('draw only from the likeliest tokens with this total probability'),
  seed: z.number().int().min(0).default(0),
});

export interface GenerateOptions extends z.input<typeof generateOptions> {
  /** Ends the text, and is not returned. Default: the model's end-of-text tokens. */
  readonly stopIds?: readonly number[];
  /** Called with every new token, as soon as it is known. */
  readonly onToken?: (id: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Continues a prompt, with a cache of keys and values, up to a stop token, `maxNewTokens` or the end of the model's context.
 * @param promptIds at least one token id
 * @returns the new token ids
 * @throws LftError options-invalid, example-too-long
 */
export async function generate(
  model: AdaptedModel,
  promptIds: readonly number[],
  options: GenerateOptions = {},
): Promise<number[]> {
  const { stopIds = model.base.info.eosTokenIds, onToken, signal, ...rest } = options;
  const { maxNewTokens, temperature, topP, seed } = parseOptions('generate', generateOptions, rest);
  const { contextLength, vocabularySize } = model.base.info;
  if (promptIds.length === 0)
    throw new LftError('options-invalid', 'generate: the prompt has no token; begin with the BOS token');
  if (promptIds.length >= contextLength) {
    throw new LftError(
      'example-too-long',
      `generate: the prompt has ${promptIds.length} tokens, and the model's context is ${contextLength}`,
      {
        length: promptIds.length,
        contextLength,
      },
    );
  }
  const outside = promptIds.find((id) => id < 0 || id >= vocabularySize);
  if (outside !== undefined) {
    throw new LftError(
      'vocabulary-mismatch',
      `generate: token id ${outside} is not one of the model's ${vocabularySize} tokens: the tokenizer is of another model`,
      {
        id: outside,
      },
    );
  }
  await ensureBackend();
  const random = keyedRandom(seed, 'generate');
  const cache = new GrowingCache();
  const tokens: number[] = [];
  let input = promptIds;
  try {
    while (tokens.length < maxNewTokens && promptIds.length + tokens.length < contextLength && !signal?.aborted) {
      const id = sampleToken(nextLogits(model, input, cache), { temperature, topP }, random);
      if (stopIds.includes(id)) break;
      tokens.push(id);
      onToken?.(id);
      input = [id];
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    cache.dispose();
  }
  return tokens;
}

/** Logits [V] after the last of the new tokens, which join the cache. */
function nextLogits(model: AdaptedModel, ids: readonly number[], cache: GrowingCache): Float32Array {
  const { base } = model;
  const geometry = base.geometry({ batch: 1, length: ids.length, past: cache.length });
  try {
    // Not read inside: a scope walks over all that it returns, value by value.
    const logits = tf.tidy(() => {
      const pass = model.forward();
      let x = base.embed(tf.tensor1d([...ids], 'int32'), pass);
      for (let block = 0; block < base.info.blocks; block++) {
        const next = tf.tidy(() => base.block(block, x, geometry, pass, cache));
        x.dispose();
        x = next;
      }
      const last = tf.slice(x, [ids.length - 1, 0], [1, -1]);
      return pass.linear(base.head, base.norm(last, pass));
    });
    const values = logits.dataSync() as Float32Array;
    logits.dispose();
    return values;
  } finally {
    geometry.dispose();
  }
}
