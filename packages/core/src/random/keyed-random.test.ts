import { keyedRandom, keyedSeed } from './keyed-random.js';

const take = (count: number, seed: number, ...key: (string | number)[]) => {
  const random = keyedRandom(seed, ...key);
  return Array.from({ length: count }, () => random.next());
};

test('the same key gives the same stream', () => {
  expect(take(20, 3, 'a', 1)).toEqual(take(20, 3, 'a', 1));
});

test('the streams do not change between versions: a run resumes years later', () => {
  expect(take(3, 0, 'data-order', 0)).toMatchInlineSnapshot(`
    [
      0.013029734138399363,
      0.6786715139169246,
      0.7694687428884208,
    ]
  `);
  expect(keyedSeed(0, 'dropout', 1, 2)).toMatchInlineSnapshot(`1081601386`);
});

test('seed, purpose, step and the place of a key part tell streams apart', () => {
  const streams = [
    take(4, 0, 'a', 1),
    take(4, 1, 'a', 1),
    take(4, 0, 'b', 1),
    take(4, 0, 'a', 2),
    take(4, 0, 'a', '1'),
    take(4, 0, 'a'),
    take(4, 0, 'a,1'),
  ];
  expect(new Set(streams.map(String)).size).toBe(streams.length);
});

test('the first draws of neighbouring steps are independent', () => {
  const first = Array.from({ length: 4000 }, (_, step) => keyedRandom(0, 'select', step).next());
  const mean = first.reduce((sum, x) => sum + x, 0) / first.length;
  const covariance = first.slice(1).reduce((sum, x, i) => sum + (x - mean) * (first[i]! - mean), 0) / first.length;
  // Standard deviations: 0.2887/√4000 = 0.0046 and 1/12/√4000 = 0.0013; four of each.
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.0184);
  expect(Math.abs(covariance)).toBeLessThan(0.0053);
});

test('next is in [0, 1) and integer in [0, below)', () => {
  const random = keyedRandom(1);
  for (let i = 0; i < 2000; i++) {
    const value = random.next();
    expect(value >= 0 && value < 1).toBe(true);
    const integer = random.integer(3);
    expect([0, 1, 2]).toContain(integer);
  }
});

test('normal draws have mean 0, variance 1 and are finite', () => {
  const random = keyedRandom(2);
  const values = Array.from({ length: 10000 }, () => random.normal());
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  expect(Math.abs(mean)).toBeLessThan(0.04);
  expect(Math.abs(variance - 1)).toBeLessThan(0.06);
});

test('a shuffle is a permutation and leaves its argument', () => {
  const items = Object.freeze([1, 2, 3, 4, 5, 6, 7, 8]);
  const shuffled = keyedRandom(0, 'x').shuffled(items);
  expect(shuffled).not.toEqual(items);
  expect([...shuffled].sort()).toEqual(items);
});

test('every item comes to every place equally often', () => {
  const counts = Array.from({ length: 4 }, () => [0, 0, 0, 0]);
  for (let i = 0; i < 4000; i++) {
    keyedRandom(0, 'shuffle', i)
      .shuffled([0, 1, 2, 3])
      .forEach((item, place) => {
        counts[item]![place]! += 1;
      });
  }
  // Binomial: 1000 ± 27.4; five standard deviations.
  for (const count of counts.flat()) expect(Math.abs(count - 1000)).toBeLessThan(137);
});

describe('sample', () => {
  /** Share of the samples that hold each index. */
  function marginals(size: number, count: number, weights?: readonly number[], rounds = 6000): number[] {
    const shares = new Array<number>(size).fill(0);
    for (let i = 0; i < rounds; i++) {
      const chosen = keyedRandom(5, 'sample', i).sample(size, count, weights);
      expect(chosen).toEqual([...new Set(chosen)].sort((a, b) => a - b));
      expect(chosen).toHaveLength(count);
      for (const index of chosen) shares[index]! += 1 / rounds;
    }
    return shares;
  }

  test('without weights each index comes with probability count/size', () => {
    // √(p(1−p)/6000) ≤ 0.0065; five of them.
    for (const share of marginals(5, 2)) expect(Math.abs(share - 0.4)).toBeLessThan(0.032);
  });

  test('one draw is proportional to the weights', () => {
    const shares = marginals(3, 1, [1, 2, 5]);
    [1 / 8, 2 / 8, 5 / 8].forEach((p, i) => {
      expect(Math.abs(shares[i]! - p)).toBeLessThan(0.032);
    });
  });

  test('two draws are successive draws that renormalise', () => {
    const w = [0.5, 0.3, 0.2];
    const shares = marginals(3, 2, w);
    w.forEach((first, i) => {
      const second = w.reduce((sum, other, j) => (j === i ? sum : sum + (other * first) / (1 - other)), 0);
      expect(Math.abs(shares[i]! - (first + second))).toBeLessThan(0.032);
    });
  });

  test('an index of weight 0 never comes', () => {
    expect(marginals(4, 2, [1, 0, 1, 1], 300)[1]).toBe(0);
  });

  test('as many as there are is all of them', () => expect(keyedRandom(0).sample(4, 4)).toEqual([0, 1, 2, 3]));

  test('more than there are with a positive weight is an error that names both', () => {
    expect(() => keyedRandom(0).sample(3, 3, [1, 0, 1])).toThrow(/cannot draw 3 of 2/);
  });
});

test('a seed for other generators has 31 bits', () => {
  for (let i = 0; i < 200; i++) {
    const seed = keyedSeed(i, 'x');
    expect(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31).toBe(true);
  }
});
