import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** A stream of random numbers; draws depend on the key it was made with and on how many came before, on nothing else. */
export interface Random {
  /** Uniform in [0, 1), 32 bits. */
  next(): number;
  /** Uniform integer in [0, below). */
  integer(below: number): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** A uniformly shuffled copy (Fisher-Yates). */
  shuffled<T>(items: readonly T[]): T[];
  /**
   * `count` distinct indices, drawn one after the other without replacement with probability proportional to the weights
   * (Efraimidis-Spirakis keys u^(1/w)), in ascending order. Equal weights when none are given.
   * @throws RangeError when fewer than `count` weights are positive
   */
  sample(size: number, count: number, weights?: readonly number[]): number[];
}

/** 32-bit FNV-1a of a key, finished by Murmur3's mixer so that near keys give far seeds. */
function hash(text: string, basis: number): number {
  let h = basis;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A 31-bit seed for generators of other libraries, from the same kind of key. */
export function keyedSeed(seed: number, ...key: readonly (string | number)[]): number {
  return hash(JSON.stringify([seed, ...key]), 0x811c9dc5) & 0x7fffffff;
}

/**
 * One generator per purpose, keyed by what it is for: keyedRandom(seed, 'lisa', 'select', step). A resumed run makes the same
 * generators again, so no generator state is saved.
 */
export function keyedRandom(seed: number, ...key: readonly (string | number)[]): Random {
  const text = JSON.stringify([seed, ...key]);
  const generator = xoroshiro128plus(hash(text, 0x811c9dc5) ^ Math.imul(hash(text, 0x1b873593), 0x9e3779b1));
  const next = () => (generator.next() >>> 0) / 0x1_0000_0000;
  const random: Random = {
    next,
    integer: (below) => Math.floor(next() * below),
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    shuffled(items) {
      const copy = [...items];
      for (let i = copy.length - 1; i > 0; i--) {
        const j = random.integer(i + 1);
        [copy[i], copy[j]] = [copy[j]!, copy[i]!];
      }
      return copy;
    },
    sample(size, count, weights) {
      const keys: { index: number; key: number }[] = [];
      for (let index = 0; index < size; index++) {
        const weight = weights ? weights[index]! : 1;
        const u = 1 - next();
        if (weight > 0) keys.push({ index, key: Math.log(u) / weight });
      }
      if (keys.length < count)
        throw new RangeError(`cannot draw ${count} of ${keys.length} items with a positive weight`);
      keys.sort((a, b) => b.key - a.key || a.index - b.index);
      return keys
        .slice(0, count)
        .map((k) => k.index)
        .sort((a, b) => a - b);
    },
  };
  return random;
}
