import { bins, downsample, type Point, smooth } from './curve.js';

const line = (length: number, y: (x: number) => number): Point[] => Array.from({ length }, (_, x) => [x, y(x)]);

test('a short curve is kept as it is', () => {
  const curve = line(50, Math.sin);
  expect(downsample(curve, 50)).toEqual(curve);
});

test('a thinned curve has at most the points asked for, in order, with both ends', () => {
  const curve = line(10_000, (x) => Math.sin(x / 100));
  const thin = downsample(curve, 300);
  expect(thin).toHaveLength(300);
  expect([thin[0], thin.at(-1)]).toEqual([curve[0], curve.at(-1)]);
  expect(thin.every(([x], i) => i === 0 || x > thin[i - 1]![0])).toBe(true);
});

test('a spike outlives thinning', () => {
  expect(
    downsample(
      line(5000, (x) => (x === 1234 ? 50 : 1)),
      100,
    ),
  ).toContainEqual([1234, 50]);
});

test('smoothing leaves a constant alone, from its first point on', () => {
  for (const [, y] of smooth(
    line(20, () => 3),
    5,
  ))
    expect(y).toBeCloseTo(3, 12);
});

test('after one half-life a smoothed jump is about half way', () => {
  const curve = smooth(
    line(2000, (x) => (x < 1000 ? 0 : 1)),
    10,
  );
  expect(curve[1009]![1]).toBeCloseTo(0.5, 6);
});

test('bins cover everything once', () => {
  for (const [length, limit] of [
    [0, 5],
    [1, 5],
    [7, 5],
    [600, 181],
  ] as const) {
    const all = bins(length, limit);
    expect(all.length).toBeLessThanOrEqual(limit);
    expect(all.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))).toEqual(
      Array.from({ length }, (_, i) => i),
    );
  }
});
