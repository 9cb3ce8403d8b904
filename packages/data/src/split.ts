import { keyedRandom } from '@lft/core';

/**
 * How many of `count` items a share holds out: at least one when there are two and the share isn't 0, never all.
 */
export function heldOut(count: number, share: number): number {
  if (share === 0 || count < 2) return 0;
  return Math.min(count - 1, Math.max(1, Math.round(count * share)));
}

/** Shuffles by the seed and holds a share out; the two parts have no item in common and together are all. */
export function shuffledSplit<T>(items: readonly T[], share: number, seed: number): { train: T[]; validation: T[] } {
  const shuffled = keyedRandom(seed, 'data', 'split').shuffled(items);
  const count = heldOut(items.length, share);
  return { train: shuffled.slice(count), validation: shuffled.slice(0, count) };
}

/**
 * Where to cut a stream of documents so that about a share of its tokens is held out at the end: at the start of a document when that
 * comes within a factor of two of the share, else inside one.
 * @param lengths tokens of each document
 * @returns how many tokens are trained on
 */
export function tailCut(lengths: readonly number[], share: number): number {
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const held = heldOut(total, share);
  if (held === 0) return total;
  let start = 0;
  let nearest = Number.NaN;
  for (const length of lengths) {
    const tail = total - start;
    const better = Number.isNaN(nearest) || Math.abs(tail - held) < Math.abs(total - nearest - held);
    if (start > 0 && tail >= held / 2 && tail <= held * 2 && better) nearest = start;
    start += length;
  }
  return Number.isNaN(nearest) ? total - held : nearest;
}
