export type Point = readonly [x: number, y: number];

/**
 * Exponential average with the given half-life in points, without the pull towards the first value (Adam's correction), so that the
 * curve starts where the data starts.
 */
export function smooth(points: readonly Point[], halfLife: number): Point[] {
  const keep = 0.5 ** (1 / Math.max(halfLife, 1e-9));
  let sum = 0;
  let weight = 0;
  return points.map(([x, y]) => {
    sum = keep * sum + (1 - keep) * y;
    weight = keep * weight + (1 - keep);
    return [x, sum / weight];
  });
}

/**
 * At most `limit` of the points, those that keep the shape of the curve (largest triangle three buckets, Steinarsson 2013): spikes
 * stay, unlike in an average.
 */
export function downsample(points: readonly Point[], limit: number): Point[] {
  if (points.length <= limit || limit < 3) return [...points];
  const kept: Point[] = [points[0]!];
  const bucket = (points.length - 2) / (limit - 2);
  for (let i = 0; i < limit - 2; i++) {
    const from = Math.floor(i * bucket) + 1;
    const to = Math.floor((i + 1) * bucket) + 1;
    const next = points.slice(to, Math.max(to + 1, Math.min(Math.floor((i + 2) * bucket) + 1, points.length)));
    const nextX = mean(next.map(([x]) => x));
    const nextY = mean(next.map(([, y]) => y));
    const [lastX, lastY] = kept.at(-1)!;
    let best = points[from]!;
    let bestArea = -1;
    for (const point of points.slice(from, to)) {
      const area = Math.abs((lastX - nextX) * (point[1] - lastY) - (lastX - point[0]) * (nextY - lastY));
      if (area > bestArea) {
        bestArea = area;
        best = point;
      }
    }
    kept.push(best);
  }
  kept.push(points.at(-1)!);
  return kept;
}

/** [from, to) of at most `limit` bins over `length` items: of the same whole number of items, but for the last. */
export function bins(length: number, limit: number): { from: number; to: number }[] {
  const size = Math.ceil(length / limit);
  return Array.from({ length: Math.ceil(length / Math.max(1, size)) }, (_, i) => ({
    from: i * size,
    to: Math.min(length, (i + 1) * size),
  }));
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
