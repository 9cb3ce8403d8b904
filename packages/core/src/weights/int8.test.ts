import { draws } from '../__testing__/op-laws.js';
import { Int8Values } from './int8.js';
import { unpack } from './unpack.js';

test('a row is scaled to 127 and rounded to the nearest code, ties to even', () => {
  // Row 0 has the scale 1/2, so that 0.25 and 0.75 lie halfway between codes.
  const { codes, scales } = Int8Values.quantise(
    Float32Array.of(63.5, -63.5, 0.25, 0.75, -0.75, 0.3, 4, -2, 0, 1, 3, -4),
    2,
  );
  expect([...scales]).toEqual([0.5, Math.fround(4 / 127)]);
  expect([...codes]).toEqual([127, -127, 0, 2, -2, 1, 127, -64, 0, 32, 95, -127]);
});

test('every value comes back to within half a step of its own row', () => {
  const [rows, columns] = [7, 33];
  // Rows of very different size: a scale for the whole matrix would lose the small ones.
  const values = Float32Array.from(draws('w', [rows, columns]), (x, i) => x * 10 ** (Math.floor(i / columns) - 3));
  const data = Int8Values.quantise(values, rows);
  const back = unpack(data, 0, data.length);
  for (const [i, value] of values.entries()) {
    const step = data.scales[Math.floor(i / columns)]!;
    expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(0.5001 * step);
  }
  expect(data.byteLength).toBe(rows * columns + 4 * rows);
});

test('a row of zeros stays one; a value that is not finite makes its row NaN and no other', () => {
  const data = Int8Values.quantise(Float32Array.of(0, 0, 1, Number.NaN, 2, -2, Infinity, 3), 4);
  expect([...unpack(data, 0, 8)]).toEqual([0, 0, Number.NaN, Number.NaN, 2, -2, Number.NaN, Number.NaN]);
});
