import { createHash } from 'node:crypto';
import { type DataSource, type Example, IGNORED_LABEL, type Json, keyedRandom } from '@lft/core';

export interface TinyDataOptions {
  /** Training examples. Default 24. */
  readonly examples?: number;
  /** Held-out examples. Default 4. */
  readonly validation?: number;
  /** Longest row in tokens; rows are up to a third shorter. Default 12. */
  readonly length?: number;
  /** V of the model. Default 32. */
  readonly vocabulary?: number;
  readonly seed?: number;
}

/** Ids below this mean something else: padding, begin, end. */
const RESERVED = 3;

/**
 * Examples that a tiny model can learn: arithmetic progressions modulo the vocabulary. The prompt `begin, start, difference` is not
 * learned, the numbers after it are. Rows differ in length, so that batches are padded.
 */
export function tinyData(options: TinyDataOptions = {}): DataSource {
  const { examples = 24, validation = 4, length = 12, vocabulary = 32, seed = 0 } = options;
  const resolved = { examples, validation, length, vocabulary, seed };
  return {
    options: resolved as Json,
    async prepare({ maxLength }) {
      const rows = Array.from({ length: examples + validation }, (_, index) =>
        progression(index, { ...resolved, length: Math.min(length, maxLength) }),
      );
      return {
        train: rows.slice(0, examples),
        validation: rows.slice(examples),
        fingerprint: createHash('sha256').update(JSON.stringify(resolved)).digest('hex').slice(0, 32),
        description: `${examples} arithmetic progressions`,
      };
    },
  };
}

function progression(index: number, { length, vocabulary, seed }: Required<TinyDataOptions>): Example {
  const random = keyedRandom(seed, 'tiny-data', index);
  const numbers = vocabulary - RESERVED;
  const start = random.integer(numbers);
  const difference = 1 + random.integer(3);
  const tokens = Math.max(5, length - random.integer(Math.floor(length / 3) + 1));
  const ids = new Int32Array(tokens);
  ids.set([1, RESERVED + start, RESERVED + difference]);
  for (let t = 3; t < tokens; t++) ids[t] = RESERVED + ((start + (t - 2) * difference) % numbers);
  const labels = ids.slice();
  labels.fill(IGNORED_LABEL, 0, 3);
  return { ids, labels };
}
