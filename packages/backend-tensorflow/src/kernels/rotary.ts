import * as tf from '@tensorflow/tfjs-core';
import { CompiledKernel } from '../compiled/compiled-kernel.js';
import { heldTensor } from '../held-tensors.js';
import { TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';

type Tensors = Record<'x' | 'cos' | 'sin', tf.TensorInfo>;

/** (x₁, x₂)·cos + (−x₂, x₁)·sin, with the halves of each head on an axis of their own. @param signs [2, 1], −1 and 1, or for the inverse 1 and −1 */
const kernel = new CompiledKernel((calc, x, cos, sin, signs) => {
  const wide = calc.wide(x!);
  const kept = calc.run('Mul', wide, cos!);
  const turned = calc.run('Mul', calc.reversed(wide, 2), calc.run('Mul', sin!, signs!));
  return [calc.cast(calc.run('AddV2', kept, turned), x!.dtype)];
});

/** LftRotary. @returns of x's shape */
export function rotary({ x, cos, sin }: Tensors, { direction }: { readonly direction: 1 | -1 }): tf.Tensor {
  const [rows, , width] = cos.shape as [number, number, number];
  const heads = tf.util.sizeFromShape(x.shape) / (rows * width);
  return RawCall.run((call) => {
    const halves = call.reshape(heldTensor(x), rows, heads, 2, width / 2);
    const angles = [cos, sin].map((each) => call.reshape(call.wide(each), rows, 1, 2, width / 2));
    const signs = call.upload([2, 1], TYPE.float32, Float32Array.of(-direction, direction));
    const y = kernel.run(call, [halves, ...angles], [signs])[0]!;
    return call.tensor(call.reshape(y, ...x.shape));
  });
}
