import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const COUNT = 8192;

/** xorshift32: fast, and the same everywhere. */
export function randomIntegers(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/**
 * Random token ids, little-endian int32. Both sides cut the same rows from it.
 * @param vocabulary ids are below it
 * @returns the file's path
 */
export function writeTokens(cache, vocabulary) {
  const file = path.join(cache, `tokens-${vocabulary}.bin`);
  const next = randomIntegers(7);
  writeFileSync(file, new Uint8Array(Int32Array.from({ length: COUNT }, () => next() % vocabulary).buffer));
  return file;
}

/** The rows of the file, `length` ids each. */
export function readRows(file, length) {
  const { buffer, byteOffset } = Uint8Array.from(readFileSync(file));
  const ids = new Int32Array(buffer, byteOffset, COUNT);
  return Array.from({ length: Math.floor(COUNT / length) }, (_, i) => ids.slice(i * length, (i + 1) * length));
}
