import { formatBytes, formatCount, formatDuration, formatLoss, formatNumber, formatShare } from './number-format.js';

test.each([
  [formatNumber(0), '0'],
  [formatNumber(-0.1316), '−0.132'],
  [formatNumber(2e-4), '2e-4'],
  [formatNumber(12_345.6), '12,346'],
  [formatNumber(1.5e12), '1.5e12'],
  [formatNumber(Number.NaN), '–'],
  [formatLoss(2), '2.000'],
  [formatLoss(null), '–'],
  [formatCount(135_000_000), '135 M'],
  [formatCount(7_240_000_000), '7.24 B'],
  [formatShare(0.0000001), '< 0.01 %'],
  [formatShare(0.0042), '0.42 %'],
  [formatShare(1), '100 %'],
  [formatBytes(0), '0 B'],
  [formatBytes(1536), '1.5 KiB'],
  [formatBytes(3 * 1024 ** 3), '3 GiB'],
  [formatDuration(0.25), '250 ms'],
  [formatDuration(59.96), '1 min 0 s'],
  [formatDuration(184), '3 min 4 s'],
  [formatDuration(7199), '2 h 0 min'],
])('%s', (given, expected) => {
  expect(given).toBe(expected);
});
