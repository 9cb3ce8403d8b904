import { createHash } from 'node:crypto';
import type { Example, Json } from '@lft/core';

/** Everything that the examples depend on. */
export interface FingerprintParts {
  /** SHA-256 of each file's bytes: a moved file is the same data. */
  readonly files: readonly string[];
  /** The tokenizer's fingerprint, when there was one. */
  readonly tokenizer?: string;
  readonly options: Json;
  readonly seed: number;
  readonly maxLength: number;
  readonly train: readonly Example[];
  readonly validation: readonly Example[];
}

/**
 * SHA-256 over all of it, the examples' ids, labels and segments included: what a custom template closes over shows there.
 */
export function dataFingerprint({ train, validation, ...rest }: FingerprintParts): string {
  const hash = createHash('sha256').update(JSON.stringify(rest));
  for (const [name, examples] of [
    ['train', train],
    ['validation', validation],
  ] as const) {
    hash.update(`\0${name}\0${examples.length}`);
    for (const { ids, labels, segments } of examples) {
      hash.update(`\0${ids.length}`);
      for (const array of [ids, labels, ...(segments ? [segments] : [])]) {
        hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
      }
    }
  }
  return hash.digest('hex');
}
