import { createHash } from 'node:crypto';
import type { Example, Json } from '@lft/core';
import { fileHash } from './files/data-file.js';

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

/**
 * The fingerprint of examples from a file, and from a second one where `held` names one.
 * @param held share of the file that is held out, or the file of what is
 * @throws LftError file-missing
 */
export async function filesFingerprint(
  path: string,
  held: number | string,
  {
    options,
    ...parts
  }: Omit<FingerprintParts, 'files' | 'options'> & { readonly options: { readonly [name: string]: Json } },
): Promise<string> {
  const second = typeof held === 'string' ? [held] : [];
  const files = await Promise.all([path, ...second].map(fileHash));
  // Its bytes count, not its name.
  return dataFingerprint({
    files,
    ...parts,
    options: second.length > 0 ? { ...options, validation: 'file' } : options,
  });
}
