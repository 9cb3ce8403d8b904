import type * as tf from '@tensorflow/tfjs-core';
import { CompiledKernel } from '../compiled/compiled-kernel.js';
import { heldTensor } from '../held-tensors.js';
import { RawCall } from '../raw-call.js';

type Tensors = Record<'dy' | 'gate' | 'up', tf.TensorInfo>;

const forward = new CompiledKernel((graph, gate, up) => {
  const z = graph.wide(gate!);
  const silu = graph.run('Mul', z, graph.run('Sigmoid', z));
  return [graph.cast(graph.run('Mul', silu, graph.wide(up!)), gate!.dtype)];
});

/** LftSwiglu: silu(gate) ∘ up. */
export function swiglu({ gate, up }: Tensors): tf.Tensor {
  return RawCall.run((call) => call.tensor(forward.run(call, [heldTensor(gate), heldTensor(up)])[0]!));
}

/** silu'(z) = σ(z) + silu(z)·(1 − σ(z)) */
const gradients = new CompiledKernel((graph, dy, gate, up) => {
  const [d, z] = [graph.wide(dy!), graph.wide(gate!)];
  const sigmoid = graph.run('Sigmoid', z);
  const silu = graph.run('Mul', z, sigmoid);
  const slope = graph.run('AddV2', sigmoid, graph.run('Mul', silu, graph.run('Sub', 1, sigmoid)));
  const dGate = graph.run('Mul', graph.run('Mul', d, graph.wide(up!)), slope);
  return [graph.cast(dGate, gate!.dtype), graph.cast(graph.run('Mul', d, silu), up!.dtype)];
});

/** LftSwigluGradients. @returns dgate, dup */
export function swigluGradients({ dy, gate, up }: Tensors): tf.Tensor[] {
  return RawCall.run((call) =>
    gradients.run(call, [heldTensor(dy), heldTensor(gate), heldTensor(up)]).map((each) => call.tensor(each)),
  );
}
