import { isDtype, tensorBytes } from './dtype.js';

test.each([
  ['F32', [2, 3], 24],
  ['BF16', [], 2],
  ['I64', [0, 5], 0],
  ['BOOL', [7], 7],
  ['F4', [2, 3], 3],
  ['F6_E2M3', [4], 3],
] as const)('%s of shape %j takes %i bytes', (dtype, shape, bytes) => {
  expect(tensorBytes(dtype, shape)).toBe(bytes);
});

test.each([
  ['a negative size', 'F32', [-1]],
  ['a size with a fraction', 'F32', [1.5]],
  ['a size that is no number', 'F32', ['2']],
  ['more values than can be counted', 'U8', [2 ** 40, 2 ** 40]],
  ['more bytes than can be counted', 'F64', [2 ** 52]],
  ['half a byte', 'F4', [3]],
] as const)('%s is no tensor', (_, dtype, shape) => {
  expect(tensorBytes(dtype, shape)).toBeUndefined();
});

test('names of the prototype are not dtypes', () => {
  expect(isDtype('toString')).toBe(false);
  expect(isDtype('F32')).toBe(true);
});
