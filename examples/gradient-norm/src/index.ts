export { type GradientNormOptions, gradientNorm, gradientNormOptions, selector } from './gradient-norm.js';
