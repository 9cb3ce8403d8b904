import { draws } from '../__testing__/op-laws.js';
import { NF4_LEVELS, Nf4Values } from './nf4.js';
import { unpack } from './unpack.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('two codes lie in a byte, the first in the high half', () => {
  const { codes, scales, length } = Nf4Values.quantise(Float32Array.of(0.5, -1, 0.1, 0.25));
  // 12 0 8 10; a block is filled up with the code of zero.
  expect(hex(codes)).toBe(`c08a${'77'.repeat(30)}`);
  expect([...scales]).toEqual([1]);
  expect(length).toBe(4);
});

test('the levels are their own codes, at every scale of a block', () => {
  const values = Float32Array.from({ length: 64 * 3 }, (_, i) => NF4_LEVELS[i % 16]! * 4 ** Math.floor(i / 64));
  const data = Nf4Values.quantise(values);
  expect(hex(data.codes)).toBe('0123456789abcdef'.repeat(12));
  expect([...data.scales]).toEqual([1, 4, 16]);
  expect(unpack(data, 0, 192)).toEqual(values);
});

test('every value gets the nearest level of its block, also close to the middle of two, and a tie the lower one', () => {
  const levels = Float32Array.from(NF4_LEVELS);
  const middles = NF4_LEVELS.slice(1).flatMap((_, i) => {
    const middle = (levels[i]! + levels[i + 1]!) / 2;
    return [-1e-6, -1e-7, 0, 1e-7, 1e-6].map((shift) => middle + shift);
  });
  const values = Float32Array.from([...middles, ...draws('w', [1000])].map((x, i) => (i % 64 === 0 ? 1 : x / 4)));
  const scaled = Float32Array.from(values, (x, i) => (i < middles.length && i % 64 !== 0 ? x * 4 : x));
  const data = Nf4Values.quantise(scaled);
  const back = unpack(data, 0, scaled.length);
  for (const [i, value] of scaled.entries()) {
    const scale = data.scales[Math.floor(i / 64)]!;
    // The first of equals is the lower.
    const nearest = levels.reduce((best, level) =>
      Math.abs(value / scale - level) < Math.abs(value / scale - best) ? level : best,
    );
    expect(back[i]).toBe(Math.fround(nearest * scale));
  }
});

test('a range begins and ends anywhere: within a byte, over the edge of a block', () => {
  const values = Float32Array.from(draws('w', [200]));
  const data = Nf4Values.quantise(values);
  const whole = unpack(data, 0, 200);
  for (const [begin, end] of [
    [0, 200],
    [1, 2],
    [63, 65],
    [64, 64],
    [7, 199],
  ] as const)
    expect(unpack(data, begin, end)).toEqual(whole.slice(begin, end));
});

test('a block of zeros stays one; a value that is not finite makes its block NaN and no other', () => {
  const values = new Float32Array(192).fill(1, 64);
  values[70] = Number.NaN;
  const back = unpack(Nf4Values.quantise(values), 0, 192);
  expect(back.subarray(0, 64).every((x) => x === 0)).toBe(true);
  expect(back.subarray(64, 128).every(Number.isNaN)).toBe(true);
  expect(back.subarray(128).every((x) => x === 1)).toBe(true);
});
