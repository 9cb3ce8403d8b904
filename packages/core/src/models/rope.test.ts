import { inverseFrequencies, ropeTables } from './rope.js';

const WIDTH = 16;
const plain = (theta: number) => Array.from({ length: WIDTH / 2 }, (_, i) => 1 / theta ** ((2 * i) / WIDTH));
const frequencies = (config: Parameters<typeof inverseFrequencies>[0]) => [
  ...inverseFrequencies(config, WIDTH, 'model/config.json'),
];
const close = (a: number[], b: number[]) => a.forEach((value, i) => expect(value).toBeCloseTo(b[i]!, 12));

test('without scaling pair i turns by θ^(−2i/width)', () => {
  close(frequencies({ rope_theta: 500000 }), plain(500000));
  close(frequencies({}), plain(10000));
  close(frequencies({ rope_parameters: { rope_type: 'default', rope_theta: 500000 } }), plain(500000));
});

test('linear divides every frequency by the factor', () => {
  close(
    frequencies({ rope_scaling: { type: 'linear', factor: 4 } }),
    plain(10000).map((f) => f / 4),
  );
});

test('llama3 keeps short wavelengths, divides long ones, and blends between', () => {
  const [factor, low, high, original] = [8, 1, 4, 64];
  const expected = plain(10000).map((f) => {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength < original / high) return f;
    if (wavelength > original / low) return f / factor;
    const smooth = (original / wavelength - low) / (high - low);
    return ((1 - smooth) * f) / factor + smooth * f;
  });
  const scaling = {
    rope_type: 'llama3',
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
  close(frequencies({ rope_scaling: scaling }), expected);
  // All three kinds occur.
  const ratios = expected.map((f, i) => f / plain(10000)[i]!);
  expect(ratios[0]).toBe(1);
  expect(ratios.at(-1)).toBe(1 / 8);
  expect(ratios.some((ratio) => ratio > 1 / 8 && ratio < 1)).toBe(true);
});

test('both spellings give the same frequencies', () => {
  const scaling = { rope_type: 'linear', factor: 2 };
  expect(frequencies({ rope_theta: 500000, rope_scaling: scaling })).toEqual(
    frequencies({ rope_parameters: { ...scaling, rope_theta: 500000 } }),
  );
});

test('a scaling that is not known is an error with the file and what there is', () => {
  expect(() => frequencies({ rope_scaling: { rope_type: 'yarn', factor: 2 } })).toThrow(
    'model/config.json: rope scaling "yarn" is not known; there is default, linear and llama3',
  );
});

test.each(['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'])(
  'llama3 without %s is an error that names it',
  (name) => {
    const all = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 };
    const scaling = Object.fromEntries(Object.entries(all).filter(([key]) => key !== name));
    expect(() => frequencies({ rope_scaling: { rope_type: 'llama3', ...scaling } })).toThrow(
      `rope scaling "llama3" needs ${name}`,
    );
  },
);

test('tables hold cos and sin of position times frequency, both halves alike', () => {
  const { cos, sin } = ropeTables(Float64Array.from([1, 0.25]), Int32Array.from([0, 3]));
  const angles = [0, 0, 0, 0, 3, 0.75, 3, 0.75];
  angles.forEach((angle, i) => {
    expect(cos[i]).toBe(Math.fround(Math.cos(angle)));
    expect(sin[i]).toBe(Math.fround(Math.sin(angle)));
  });
});
