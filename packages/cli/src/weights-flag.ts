import { WEIGHT_FORMATS } from '@lft/core';
import { oneOf } from './one-of.js';

const WEIGHTS = ['auto', ...WEIGHT_FORMATS] as const;

/** How frozen weights are held: `auto` as the files have them, f32 or bf16. */
export type Weights = (typeof WEIGHTS)[number];

export const WEIGHTS_FLAG = [
  '--weights <format>',
  `${WEIGHTS.join('|')}: how frozen weights are held; int8 and nf4 quantise the linear modules of the blocks (auto)`,
] as const;

/** @throws LftError options-invalid */
export function weightsOf(text = 'auto'): Weights {
  return oneOf('--weights', text, WEIGHTS);
}
