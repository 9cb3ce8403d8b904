import { z } from 'zod';
import { LftError } from '../errors/lft-error.js';

/** Rotary settings in either spelling: `rope_theta` + `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5). */
const scalingSchema = z.looseObject({
  rope_type: z.string().optional(),
  /** The name before transformers 4.43. */
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z.number().int().positive().optional(),
});

export const ropeConfigShape = {
  rope_theta: z.number().positive().nullish(),
  rope_scaling: scalingSchema.nullish(),
  rope_parameters: scalingSchema.nullish(),
};

type RopeConfig = z.infer<z.ZodObject<typeof ropeConfigShape>>;

/**
 * Angle per position of each pair of a head's values: θ^(−2i/width), scaled as the config says.
 * @returns [width / 2]
 * @throws LftError config-invalid for a scaling that is not known, or one without its numbers
 */
export function inverseFrequencies(config: RopeConfig, headWidth: number, file: string): Float64Array {
  const scaling = config.rope_parameters ?? config.rope_scaling ?? {};
  const theta = config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10000;
  const base = Float64Array.from({ length: headWidth / 2 }, (_, i) => theta ** ((-2 * i) / headWidth));
  const type = scaling.rope_type ?? scaling.type ?? 'default';
  const need = (name: 'factor' | 'low_freq_factor' | 'high_freq_factor' | 'original_max_position_embeddings') => {
    const value = scaling[name];
    if (value === undefined) {
      throw new LftError('config-invalid', `${file}: rope scaling "${type}" needs ${name}`, { file, type, name });
    }
    return value;
  };
  if (type === 'default') return base;
  if (type === 'linear') return base.map((frequency) => frequency / need('factor'));
  if (type === 'llama3') {
    const factor = need('factor');
    const low = need('low_freq_factor');
    const high = need('high_freq_factor');
    const original = need('original_max_position_embeddings');
    // Llama 3.1: long wavelengths are divided by the factor, short ones kept, those between blended.
    return base.map((frequency) => {
      const turns = (original * frequency) / (2 * Math.PI);
      const keep = Math.min(1, Math.max(0, (turns - low) / (high - low)));
      return frequency * (keep + (1 - keep) / factor);
    });
  }
  throw new LftError(
    'config-invalid',
    `${file}: rope scaling "${type}" is not known; there is default, linear and llama3`,
    { file, type },
  );
}

/** cos and sin of every position's angles, both halves alike: [positions, width] each. */
export function ropeTables(frequencies: Float64Array, positions: Int32Array): { cos: Float32Array; sin: Float32Array } {
  const half = frequencies.length;
  const cos = new Float32Array(positions.length * half * 2);
  const sin = new Float32Array(positions.length * half * 2);
  for (let n = 0; n < positions.length; n++) {
    for (let i = 0; i < half; i++) {
      // The reference computes angle and functions in f32; the angle is rounded the same way here.
      const angle = Math.fround(positions[n]! * Math.fround(frequencies[i]!));
      const at = n * half * 2 + i;
      cos[at] = cos[at + half] = Math.cos(angle);
      sin[at] = sin[at + half] = Math.sin(angle);
    }
  }
  return { cos, sin };
}
