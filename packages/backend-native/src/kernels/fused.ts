import type { FrozenWeight, ops } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import type { AttentionShape, Pointer, Values } from '../addon.js';
import type { Format, NativeBackend } from '../native-backend.js';
import type { Kernel } from './kernel.js';

type Tensors = Record<string, tf.TensorInfo>;
interface AttentionAttributes {
  readonly mask: ops.CausalMask;
  readonly scale: number;
}

function attentionShape(
  q: tf.TensorInfo,
  k: tf.TensorInfo,
  { mask, scale }: AttentionAttributes,
  format: Format,
): AttentionShape {
  const [batch, queries, heads, width] = q.shape as [number, number, number, number];
  return [batch, queries, k.shape[1]!, heads, k.shape[2]!, width, scale, mask.segments ?? 0, Number(format === 'bf16')];
}

/** Addresses of tensors in the one format that a kernel takes them in: bf16 where all are. */
function alike(backend: NativeBackend, tensors: (tf.TensorInfo | undefined)[]): [Format, ...Pointer[]] {
  const format = tensors.every((x) => backend.format(x!) === 'bf16') ? 'bf16' : 'f32';
  return [format, ...tensors.map((x) => (format === 'bf16' ? backend.values(x!) : backend.pointer(x!)))];
}

/** The hot operations of @lft/core, each one pass over memory. */
export const fused: readonly Kernel[] = [
  {
    name: 'LftRmsNorm',
    run(backend, { x, weight }: Tensors, { epsilon, result }: { epsilon: number; result: Format }) {
      const [rows, width] = x!.shape as [number, number];
      const y = backend.output([rows, width], 'float32', backend.precision === 'bf16' ? 'bf16' : result);
      const inverse = backend.output([rows, 1], 'float32');
      backend.addon.rmsNorm(
        backend.values(x!),
        backend.pointer(weight!),
        epsilon,
        backend.values(y),
        backend.pointer(inverse),
        rows,
        width,
      );
      return [y, inverse];
    },
  },
  {
    name: 'LftRmsNormInputGradient',
    run(backend, { dy, x, weight, inverse, sum }: Tensors) {
      const [rows, width] = x!.shape as [number, number];
      const { out, adds } = backend.gradient([rows, width], backend.format(x!), sum);
      backend.addon.rmsNormGradient(
        backend.values(dy!),
        backend.values(x!),
        backend.pointer(weight!),
        backend.pointer(inverse!),
        backend.values(out),
        rows,
        width,
        adds,
      );
      return out;
    },
  },
  {
    name: 'LftRmsNormWeightGradient',
    run(backend, { dy, x, inverse }: Tensors) {
      const [rows, width] = x!.shape as [number, number];
      const dw = backend.output([width], 'float32');
      const at = [backend.values(dy!), backend.values(x!)] as const;
      backend.addon.rmsNormWeightGradient(...at, backend.pointer(inverse!), backend.pointer(dw), rows, width);
      return dw;
    },
  },
  {
    name: 'LftRotary',
    run(backend, { x, cos, sin }: Tensors, { direction }: { direction: 1 | -1 }) {
      const [rows, , width] = cos!.shape as [number, number, number];
      const y = backend.output(x!.shape, 'float32', backend.format(x!));
      backend.addon.rotary(
        backend.values(x!),
        backend.pointer(cos!),
        backend.pointer(sin!),
        backend.values(y),
        rows,
        tf.util.sizeFromShape(x!.shape) / (rows * width),
        width,
        direction,
      );
      return y;
    },
  },
  {
    name: 'LftSwiglu',
    run(backend, { gate, up }: Tensors) {
      const y = backend.output(gate!.shape, 'float32', backend.format(gate!));
      backend.addon.swiglu(
        backend.values(gate!),
        backend.values(up!),
        backend.values(y),
        tf.util.sizeFromShape(y.shape),
      );
      return y;
    },
  },
  {
    name: 'LftSwigluGradients',
    run(backend, { dy, gate, up }: Tensors) {
      const dgate = backend.output(gate!.shape, 'float32', backend.format(gate!));
      const dup = backend.output(gate!.shape, 'float32', backend.format(up!));
      backend.addon.swigluGradients(
        backend.values(dy!),
        backend.values(gate!),
        backend.values(up!),
        backend.values(dgate),
        backend.values(dup),
        tf.util.sizeFromShape(gate!.shape),
      );
      return [dgate, dup];
    },
  },
  {
    name: 'LftAttention',
    run(backend, { q, k, v }: Tensors, attributes: AttentionAttributes) {
      const [batch, queries, heads] = q!.shape as [number, number, number];
      const [format, qAt, kAt, vAt] = alike(backend, [q, k, v]) as [Format, Pointer, Pointer, Pointer];
      const o = backend.output(q!.shape, 'float32', format);
      const logSum = backend.output([batch, heads, queries], 'float32');
      const shape = attentionShape(q!, k!, attributes, format);
      backend.addon.attention(qAt, kAt, vAt, backend.values(o), backend.pointer(logSum), ...shape);
      return [o, logSum];
    },
  },
  {
    name: 'LftAttentionGradients',
    run(backend, { dy, q, k, v, o, logSum }: Tensors, attributes: AttentionAttributes) {
      const [format, ...at] = alike(backend, [dy, q, k, v, o]);
      const gradients = [q!, k!, v!].map((x) => backend.output(x.shape, 'float32', format));
      backend.addon.attentionGradients(
        ...(at as [Pointer, Pointer, Pointer, Pointer, Pointer]),
        backend.pointer(logSum!),
        ...(gradients.map((x) => backend.values(x)) as [Pointer, Pointer, Pointer]),
        ...attentionShape(q!, k!, attributes, format),
      );
      return gradients;
    },
  },
  {
    // The values of x or of a frozen weight, or zeros, held in bf16.
    name: 'LftHoldBf16',
    run(backend, { x }: Partial<Tensors>, { shape, weight }: { shape: number[]; weight?: FrozenWeight }) {
      const out = backend.output(shape, 'float32', 'bf16', true);
      const [values, size] = [backend.values(out), tf.util.sizeFromShape(shape)];
      if (weight) {
        backend.addon.copy(values, weight.data as Uint16Array, 2 * size);
        // It trains from now on, and what lies in the file is not read again.
        backend.addon.forgetPages(weight.data as Uint16Array);
      } else if (!x) backend.addon.clear(values, 2 * size);
      else if (backend.format(x) === 'bf16') backend.addon.copy(values, backend.values(x), 2 * size);
      else backend.addon.narrow(backend.pointer(x), values, size);
      return out;
    },
  },
  {
    name: 'LftEmbedding',
    run(backend, { table, ids }: Tensors) {
      const width = table!.shape[1]!;
      const out = backend.output([ids!.shape[0]!, width], 'float32');
      backend.addon.gather(backend.values(table!), backend.pointer(ids!), backend.pointer(out), ids!.shape[0]!, width);
      return out;
    },
  },
  {
    name: 'LftScatterRows',
    run(backend, { ids, x, sum }: Tensors, { rows }: { rows: number }) {
      const width = x!.shape[1]!;
      const { out, adds } = backend.gradient([rows, width], 'f32', sum);
      if (!adds) backend.addon.clear(backend.pointer(out), 4 * rows * width);
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
      for (const { parameter, m, v, gradient, step, learningRate, weightDecay, roundingSeed } of slots) {
        const format = roundingSeed === undefined ? 'f32' : 'bf16';
        const [p, first, second] = [parameter, m, v].map((x) => backend.holdAs(format, x)) as [Values, Values, Values];
        backend.addon.adamw(
          p,
          first,
          second,
          backend.pointer(gradient),
          parameter.size,
          step,
          learningRate,
          weightDecay,
          hyper.beta1,
          hyper.beta2,
          hyper.epsilon,
          Number(hyper.variant === 'torch'),
          roundingSeed ?? 0,
        );
      }
      return [];
    },
  },
];
