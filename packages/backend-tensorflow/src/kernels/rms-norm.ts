import type * as tf from '@tensorflow/tfjs-core';
import { CompiledKernel } from '../compiled/compiled-kernel.js';
import { heldTensor } from '../held-tensors.js';
import { TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';

type Tensors = Record<'x' | 'weight' | 'dy' | 'inverse', tf.TensorInfo>;

const norm = (result: 'float32' | 'bfloat16') =>
  new CompiledKernel((graph, x, weight, epsilon) => {
    const wide = graph.wide(x!);
    const inverse = graph.run('Rsqrt', graph.run('AddV2', graph.mean(graph.run('Square', wide), 1), epsilon!));
    const y = graph.run('Mul', graph.run('Mul', wide, inverse), weight!);
    return [graph.cast(y, TYPE[result]), inverse];
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
const gradient = new CompiledKernel((graph, dy, x, inverse, weight) => {
  const normalized = graph.run('Mul', graph.wide(x!), inverse!);
  const g = graph.run('Mul', graph.wide(dy!), weight!);
  const mean = graph.mean(graph.run('Mul', g, normalized), 1);
  const dx = graph.run('Mul', graph.run('Sub', g, graph.run('Mul', normalized, mean)), inverse!);
  return [graph.cast(dx, x!.dtype)];
});

/** LftRmsNormInputGradient. @returns dx [N, D] */
export function rmsNormInputGradient({ dy, x, weight, inverse }: Tensors): tf.Tensor {
  return RawCall.run((call) => {
    const rows = [heldTensor(dy), heldTensor(x), call.wide(inverse)];
    return call.tensor(gradient.run(call, rows, [call.wide(weight)])[0]!);
  });
}
