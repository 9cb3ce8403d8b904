import type { ops } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import type { AttentionShape } from '../addon.js';
import type { Kernel } from './kernel.js';

type Tensors = Record<string, tf.TensorInfo>;
interface AttentionAttributes {
  readonly mask: ops.CausalMask;
  readonly scale: number;
}

function attentionShape(q: tf.TensorInfo, k: tf.TensorInfo, { mask, scale }: AttentionAttributes): AttentionShape {
  const [batch, queries, heads, width] = q.shape as [number, number, number, number];
  return [batch, queries, k.shape[1]!, heads, k.shape[2]!, width, scale, mask.segments ?? 0, 0];
}

/** The hot operations of @lft/core, each one pass over memory. */
export const fused: readonly Kernel[] = [
  {
    name: 'LftRmsNorm',
    run(backend, { x, weight }: Tensors, { epsilon }: { epsilon: number }) {
      const [rows, width] = x!.shape as [number, number];
      const y = backend.output([rows, width], 'float32');
      const inverse = backend.output([rows, 1], 'float32');
      backend.addon.rmsNorm(
        backend.pointer(x!),
        backend.pointer(weight!),
        epsilon,
        backend.pointer(y),
        backend.pointer(inverse),
        rows,
        width,
      );
      return [y, inverse];
    },
  },
  {
    name: 'LftRmsNormInputGradient',
    run(backend, { dy, x, weight, inverse }: Tensors) {
      const [rows, width] = x!.shape as [number, number];
      const dx = backend.output([rows, width], 'float32');
      backend.addon.rmsNormGradient(
        backend.pointer(dy!),
        backend.pointer(x!),
        backend.pointer(weight!),
        backend.pointer(inverse!),
        backend.pointer(dx),
        rows,
        width,
      );
      return dx;
    },
  },
  {
    name: 'LftRotary',
    run(backend, { x, cos, sin }: Tensors, { direction }: { direction: 1 | -1 }) {
      const [rows, heads, width] = x!.shape as [number, number, number];
      const y = backend.output([rows, heads, width], 'float32');
      backend.addon.rotary(
        backend.pointer(x!),
        backend.pointer(cos!),
        backend.pointer(sin!),
        backend.pointer(y),
        rows,
        heads,
        width,
        direction,
      );
      return y;
    },
  },
  {
    name: 'LftSwiglu',
    run(backend, { gate, up }: Tensors) {
      const y = backend.output(gate!.shape, 'float32');
      backend.addon.swiglu(
        backend.pointer(gate!),
        backend.pointer(up!),
        backend.pointer(y),
        tf.util.sizeFromShape(y.shape),
      );
      return y;
    },
  },
  {
    name: 'LftSwigluGradients',
    run(backend, { dy, gate, up }: Tensors) {
      const dgate = backend.output(gate!.shape, 'float32');
      const dup = backend.output(gate!.shape, 'float32');
      backend.addon.swigluGradients(
        backend.pointer(dy!),
        backend.pointer(gate!),
        backend.pointer(up!),
        backend.pointer(dgate),
        backend.pointer(dup),
        tf.util.sizeFromShape(gate!.shape),
      );
      return [dgate, dup];
    },
  },
  {
    name: 'LftAttention',
    run(backend, { q, k, v }: Tensors, attributes: AttentionAttributes) {
      const [batch, queries, heads] = q!.shape as [number, number, number];
      const o = backend.output(q!.shape, 'float32');
      const logSum = backend.output([batch, heads, queries], 'float32');
      backend.addon.attention(
        backend.pointer(q!),
        backend.pointer(k!),
        backend.pointer(v!),
        backend.pointer(o),
        backend.pointer(logSum),
        ...attentionShape(q!, k!, attributes),
      );
      return [o, logSum];
    },
  },
  {
    name: 'LftAttentionGradients',
    run(backend, { dy, q, k, v, o, logSum }: Tensors, attributes: AttentionAttributes) {
      const [dq, dk, dv] = [q!, k!, v!].map((x) => backend.output(x.shape, 'float32')) as [
        tf.TensorInfo,
        tf.TensorInfo,
        tf.TensorInfo,
      ];
      backend.addon.attentionGradients(
        backend.pointer(dy!),
        backend.pointer(q!),
        backend.pointer(k!),
        backend.pointer(v!),
        backend.pointer(o!),
        backend.pointer(logSum!),
        backend.pointer(dq),
        backend.pointer(dk),
        backend.pointer(dv),
        ...attentionShape(q!, k!, attributes),
      );
      return [dq, dk, dv];
    },
  },
  {
    name: 'LftEmbedding',
    run(backend, { table, ids }: Tensors) {
      const width = table!.shape[1]!;
      const out = backend.output([ids!.shape[0]!, width], 'float32');
      backend.addon.gather(backend.pointer(table!), backend.pointer(ids!), backend.pointer(out), ids!.shape[0]!, width);
      return out;
    },
  },
  {
    name: 'LftScatterRows',
    run(backend, { ids, x }: Tensors, { rows }: { rows: number }) {
      const width = x!.shape[1]!;
      const out = backend.output([rows, width], 'float32');
      backend.addon.fill(backend.pointer(out), rows * width, 0);
      backend.addon.scatterAdd(backend.pointer(ids!), backend.pointer(x!), backend.pointer(out), ids!.shape[0]!, width);
      return out;
    },
  },
  {
    name: 'LftSquaredNorms',
    run(backend, _inputs, { tensors }: { tensors: tf.Tensor[] }) {
      const sums = Float32Array.from(tensors, (x) => backend.addon.squaredNorm(backend.pointer(x), x.size));
      const out = backend.output([tensors.length], 'float32');
      backend.addon.write(backend.pointer(out), sums);
      return out;
    },
  },
  {
    name: 'LftAdamWStep',
    run(backend, _inputs, { slots, hyper }: { slots: ops.AdamWSlot[]; hyper: ops.AdamWHyper }) {
      for (const { parameter, m, v, gradient, step, learningRate, weightDecay } of slots) {
        backend.addon.adamw(
          backend.pointer(parameter),
          backend.pointer(m),
          backend.pointer(v),
          backend.pointer(gradient),
          parameter.size,
          step,
          learningRate,
          weightDecay,
          hyper.beta1,
          hyper.beta2,
          hyper.epsilon,
          Number(hyper.variant === 'torch'),
        );
      }
      return [];
    },
  },
];
