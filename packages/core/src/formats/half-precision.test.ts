import { bfloat16FromFloat32, float32FromBFloat16, float32FromFloat16 } from './half-precision.js';

const floatOfBits = (bits: number) => new Float32Array(Uint32Array.of(bits).buffer);
const bitsOf = (value: Float32Array) => new Uint32Array(value.buffer)[0];

describe('bf16', () => {
  test.each([
    ['zero', 0x00000000, 0x0000],
    ['minus zero', 0x80000000, 0x8000],
    ['one', 0x3f800000, 0x3f80],
    ['below a tie goes down', 0x3f807fff, 0x3f80],
    ['a tie goes down to even', 0x3f808000, 0x3f80],
    ['above a tie goes up', 0x3f808001, 0x3f81],
    ['a tie goes up to even', 0x3f818000, 0x3f82],
    ['a carry goes into the exponent', 0x3fffffff, 0x4000],
    ['a negative tie goes to even', 0xbf818000, 0xbf82],
    ['the largest f32 becomes infinity', 0x7f7fffff, 0x7f80],
    ['infinity', 0x7f800000, 0x7f80],
    ['minus infinity', 0xff800000, 0xff80],
    ['the smallest subnormal becomes zero', 0x00000001, 0x0000],
    ['a subnormal keeps its high bits', 0x007f0000, 0x007f],
    ['NaN', 0x7fc00000, 0x7fc0],
    ['a NaN with low payload bits only stays a NaN', 0x7f800001, 0x7fc0],
    ['a NaN of ones stays a NaN', 0xffffffff, 0xffff],
  ])('%s', (_, float, expected) => {
    expect(bfloat16FromFloat32(floatOfBits(float))[0]).toBe(expected);
  });

  test('all 65536 values survive f32 and back, a NaN made quiet', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const quiet = all.map((bits) => ((bits & 0x7fff) > 0x7f80 ? bits | 0x40 : bits));
    expect(
      Buffer.compare(Buffer.from(bfloat16FromFloat32(float32FromBFloat16(all)).buffer), Buffer.from(quiet.buffer)),
    ).toBe(0);
  });

  test('a view into a larger buffer converts its own part', () => {
    const view = Float32Array.of(9, 1, -2, 9).subarray(1, 3);
    expect([...bfloat16FromFloat32(view)]).toEqual([0x3f80, 0xc000]);
    expect([...float32FromBFloat16(Uint16Array.of(0, 0x3f80, 0xc000).subarray(1))]).toEqual([1, -2]);
  });
});

describe('f16', () => {
  test.each([
    ['zero', 0x0000, 0],
    ['minus zero', 0x8000, -0],
    ['one', 0x3c00, 1],
    ['minus two', 0xc000, -2],
    ['a third', 0x3555, 0.333251953125],
    ['the largest', 0x7bff, 65504],
    ['the smallest normal', 0x0400, 2 ** -14],
    ['the largest subnormal', 0x03ff, 1023 * 2 ** -24],
    ['the smallest subnormal', 0x8001, -(2 ** -24)],
    ['infinity', 0x7c00, Number.POSITIVE_INFINITY],
    ['minus infinity', 0xfc00, Number.NEGATIVE_INFINITY],
    ['NaN', 0x7e00, Number.NaN],
  ])('%s', (_, half, expected) => {
    expect(float32FromFloat16(Uint16Array.of(half))[0]).toBe(expected);
  });

  test('a NaN keeps its sign and payload', () => {
    expect(bitsOf(float32FromFloat16(Uint16Array.of(0xfe01)))).toBe(0xffc02000);
  });
});
