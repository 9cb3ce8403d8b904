import type * as tf from '@tensorflow/tfjs-core';
import { CompiledKernel } from '../compiled/compiled-kernel.js';
import { heldTensor } from '../held-tensors.js';
import { TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';

type Tensors = Record<'x' | 'weight' | 'dy' | 'inverse', tf.TensorInfo>;

const norm = (result: 'float32' | 'bfloat16') =>
  new CompiledKernel((calc, x, weight, epsilon) => {
    const wide = calc.wide(x!);
    const inverse = calc.run('Rsqrt', calc.run('AddV2', calc.mean(calc.run('Square', wide), 1), epsilon!));
    const y = calc.run('Mul', calc.run('Mul', wide, inverse), weight!);
    return [calc.cast(y, TYPE[result]), inverse];
  });
const norms = { f32: norm('float32'), bf16: norm('bfloat16') };

/** LftRmsNorm: y = x·inverse ∘ w with inverse = 1/√(mean(x²) + ε). @returns y [N, D], inverse [N, 1] */
export function rmsNorm(
  { x, weight }: Tensors,
  { epsilon, result }: { readonly epsilon: number; readonly result: 'f32' | 'bf16' },
): tf.Tensor[] {
  return RawCall.run((call) => {
    const limit = call.upload([], TYPE.float32, Float32Array.of(epsilon));
    return norms[result].run(call, [heldTensor(x)], [call.wide(weight), limit]).map((each) => call.tensor(each));
  });
}

/** With x̂ = x·inverse and g = dy∘w: dx = inverse·(g − x̂·mean(g∘x̂)). */
const gradient = new CompiledKernel((calc, dy, x, inverse, weight) => {
  const normalized = calc.run('Mul', calc.wide(x!), inverse!);
  const g = calc.run('Mul', calc.wide(dy!), weight!);
  const mean = calc.mean(calc.run('Mul', g, normalized), 1);
  const dx = calc.run('Mul', calc.run('Sub', g, calc.run('Mul', normalized, mean)), inverse!);
  return [calc.cast(dx, x!.dtype)];
});

/** LftRmsNormInputGradient. @returns dx [N, D] */
export function rmsNormInputGradient({ dy, x, weight, inverse }: Tensors): tf.Tensor {
  return RawCall.run((call) => {
    const rows = [heldTensor(dy), heldTensor(x), call.wide(inverse)];
    return call.tensor(gradient.run(call, rows, [call.wide(weight)])[0]!);
  });
}
