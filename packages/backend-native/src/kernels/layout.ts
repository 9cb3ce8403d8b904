import * as tf from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../native-backend.js';
import { permuted } from './elementwise.js';
import type { Kernel } from './kernel.js';

const view = (
  name: string,
  input: string,
  shapeOf: (x: tf.TensorInfo, attributes: Record<string, unknown>) => number[],
): Kernel => ({
  name,
  run: (backend, inputs: Record<string, tf.TensorInfo>, attributes) =>
    backend.share(inputs[input]!, shapeOf(inputs[input]!, attributes)),
});

function concat(backend: NativeBackend, all: tf.TensorInfo[], axis: number): tf.TensorInfo {
  const shape = tf.backend_util.computeOutShape(
    all.map((x) => x.shape),
    axis,
  );
  const out = backend.output(shape, all[0]!.dtype);
  const rows = shape.slice(0, axis).reduce((product, size) => product * size, 1);
  const rowBytes = (x: tf.TensorInfo) => 4 * x.shape.slice(axis).reduce((product, size) => product * size, 1);
  let at = backend.pointer(out);
  for (const x of all) {
    const bytes = rowBytes(x);
    backend.addon.copyRows(backend.pointer(x), bytes, at, rowBytes(out), rows, bytes);
    at += bytes;
  }
  return out;
}

/** Kernels that move values or only name them anew. */
export const layout: readonly Kernel[] = [
  view('Identity', 'x', (x) => x.shape),
  view('Reshape', 'x', (x, { shape }) =>
    tf.util.inferFromImplicitShape(shape as number[], tf.util.sizeFromShape(x.shape)),
  ),
  view('ExpandDims', 'input', (x, { dim }) => {
    const at = (dim as number) < 0 ? x.shape.length + (dim as number) + 1 : (dim as number);
    return [...x.shape.slice(0, at), 1, ...x.shape.slice(at)];
  }),
  {
    name: 'Transpose',
    run: (backend, { x }: { x: tf.TensorInfo }, { perm }: { perm: number[] }) => permuted(backend, x, perm),
  },
  {
    name: 'Slice',
    run(backend, { x }: { x: tf.TensorInfo }, attributes: { begin: number[]; size: number[] }) {
      const [begin, size] = tf.slice_util.parseSliceParams(x as tf.Tensor, attributes.begin, attributes.size) as [
        number[],
        number[],
      ];
      const out = backend.output(size, x.dtype);
      const strides = x.shape.map((_, axis) => x.shape.slice(axis + 1).reduce((product, each) => product * each, 1));
      const first = begin.reduce((at, b, axis) => at + b * strides[axis]!, 0);
      backend.addon.permute(
        backend.pointer(x) + 4 * first,
        backend.pointer(out),
        Float64Array.from(size.length > 0 ? size : [1]),
        Float64Array.from(size.length > 0 ? strides : [1]),
      );
      return out;
    },
  },
  {
    name: 'Concat',
    run(backend, inputs: Record<string, tf.TensorInfo> | tf.TensorInfo[], { axis }: { axis: number }) {
      const all = (Array.isArray(inputs) ? inputs : Object.values(inputs)) as tf.TensorInfo[];
      return concat(backend, all, tf.util.parseAxisParam(axis, all[0]!.shape)[0]!);
    },
  },
  {
    // [B, T, …] and [B, more, …] to [B, T + more, …]: a cache of keys or values, and those of new tokens
    name: 'LftAppend',
    run(backend, { x, more }: { x: tf.TensorInfo; more: tf.TensorInfo }) {
      if (x.shape[0] !== 1) return concat(backend, [x, more], 1);
      return backend.append(x, more, [1, x.shape[1]! + more.shape[1]!, ...x.shape.slice(2)]);
    },
  },
  {
    name: 'GatherV2',
    run(backend, { x, indices }: { x: tf.TensorInfo; indices: tf.TensorInfo }) {
      const width = x.shape.slice(1).reduce((product, size) => product * size, 1);
      const count = tf.util.sizeFromShape(indices.shape);
      const out = backend.output([...indices.shape, ...x.shape.slice(1)], x.dtype);
      backend.addon.gather(backend.pointer(x), backend.pointer(indices), backend.pointer(out), count, width);
      return out;
    },
  },
  {
    name: 'Fill',
    run(backend, _inputs, { shape, value, dtype }: { shape: number[]; value: number; dtype: tf.DataType }) {
      const out = backend.output(shape, dtype ?? 'float32');
      backend.addon.fill(backend.pointer(out), tf.util.sizeFromShape(shape), value);
      return out;
    },
  },
];

/** Those that only name values anew, of whatever type; and one that is given keys and values alone. */
export const TAKES_ALL: ReadonlySet<string> = new Set(['Identity', 'Reshape', 'ExpandDims', 'LftAppend']);

/** Whether the kernel takes these arguments; what it does not take goes to the plain backend. */
export function takesLayout(name: string, inputs: tf.TensorInfo[], attributes: Record<string, unknown>): boolean {
  if (name === 'GatherV2') {
    return (
      attributes.axis === 0 && !attributes.batchDims && inputs[0]!.dtype === 'float32' && inputs[1]!.dtype === 'int32'
    );
  }
  if (name === 'Fill') return (attributes.dtype ?? 'float32') === 'float32';
  return inputs.every(({ dtype }) => dtype === 'float32' || dtype === 'int32');
}
