import type * as tf from '@tensorflow/tfjs-core';
import { CompiledKernel } from '../compiled/compiled-kernel.js';
import { heldTensor } from '../held-tensors.js';
import { RawCall } from '../raw-call.js';

type Tensors = Record<'dy' | 'gate' | 'up', tf.TensorInfo>;

const forward = new CompiledKernel((calc, gate, up) => {
  const z = calc.wide(gate!);
  const silu = calc.run('Mul', z, calc.run('Sigmoid', z));
  return [calc.cast(calc.run('Mul', silu, calc.wide(up!)), gate!.dtype)];
});

/** LftSwiglu: silu(gate) ∘ up. */
export function swiglu({ gate, up }: Tensors): tf.Tensor {
  return RawCall.run((call) => call.tensor(forward.run(call, [heldTensor(gate), heldTensor(up)])[0]!));
}

/** silu'(z) = σ(z) + silu(z)·(1 − σ(z)) */
const gradients = new CompiledKernel((calc, dy, gate, up) => {
  const [d, z] = [calc.wide(dy!), calc.wide(gate!)];
  const sigmoid = calc.run('Sigmoid', z);
  const silu = calc.run('Mul', z, sigmoid);
  const slope = calc.run('AddV2', sigmoid, calc.run('Mul', silu, calc.run('Sub', 1, sigmoid)));
  const dGate = calc.run('Mul', calc.run('Mul', d, calc.wide(up!)), slope);
  return [calc.cast(dGate, gate!.dtype), calc.cast(calc.run('Mul', d, silu), up!.dtype)];
});

/** LftSwigluGradients. @returns dgate, dup */
export function swigluGradients({ dy, gate, up }: Tensors): tf.Tensor[] {
  return RawCall.run((call) =>
    gradients.run(call, [heldTensor(dy), heldTensor(gate), heldTensor(up)]).map((each) => call.tensor(each)),
  );
}
