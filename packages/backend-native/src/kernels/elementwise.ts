import * as tf from '@tensorflow/tfjs-core';
import type { Format, NativeBackend } from '../native-backend.js';
import type { Kernel } from './kernel.js';

/** Order of `Unary` and `Binary` in native/elementwise.h. */
const UNARY = ['Neg', 'Exp', 'Log', 'Sqrt', 'Rsqrt', 'Square', 'Sigmoid', 'Tanh', 'Relu', 'Abs'];
const BINARY = ['Add', 'Sub', 'Multiply', 'RealDiv', 'Maximum', 'Minimum'];

/** Strides of an operand in the result's axes: 0 where it is broadcast. */
function broadcastStrides(shape: number[], result: number[]): Float64Array {
  const strides = new Float64Array(result.length);
  let stride = 1;
  for (let axis = 1; axis <= shape.length; axis++) {
    const size = shape[shape.length - axis]!;
    strides[result.length - axis] = size === 1 ? 0 : stride;
    stride *= size;
  }
  return strides;
}

const unary = UNARY.map(
  (name, op): Kernel => ({
    name,
    run(backend, { x }: { x: tf.TensorInfo }) {
      const y = backend.output(x.shape, 'float32');
      backend.addon.unary(op, backend.pointer(x), backend.pointer(y), tf.util.sizeFromShape(x.shape));
      return y;
    },
  }),
);

const ONE = Float64Array.of(1);

/** The format of a result: bf16 where all that it is as large as are. */
const formatOf = (backend: NativeBackend, tensors: readonly tf.TensorInfo[]): Format =>
  tensors.length > 0 && tensors.every((x) => backend.format(x) === 'bf16') ? 'bf16' : 'f32';

const binary = [...BINARY.entries(), [BINARY.indexOf('Add'), 'LftAdd'] as const].map(
  ([op, name]): Kernel => ({
    name,
    run(backend, { a, b }: { a: tf.TensorInfo; b: tf.TensorInfo }) {
      const shape = tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
      const size = tf.util.sizeFromShape(shape);
      // What is broadcast does not count: a factor in f32 makes no f32 of bf16 activations.
      const whole = [a, b].filter((x) => tf.util.sizeFromShape(x.shape) === size);
      const out = backend.output(shape, 'float32', formatOf(backend, whole));
      const alike = whole.length === 2;
      backend.addon.binary(
        op,
        backend.values(a),
        backend.values(b),
        backend.values(out),
        alike ? Float64Array.of(size) : Float64Array.from(shape),
        alike ? ONE : broadcastStrides(a.shape, shape),
        alike ? ONE : broadcastStrides(b.shape, shape),
      );
      return out;
    },
  }),
);

/** sum + part where the sum lies, when nobody else reads it and it can hold the result. */
const accumulate: Kernel = {
  name: 'LftAccumulate',
  run(backend, { sum, part }: { sum: tf.TensorInfo; part: tf.TensorInfo }) {
    const format = formatOf(backend, [sum, part]);
    const inPlace = !backend.shared(sum) && backend.format(sum) === format;
    const out = inPlace ? backend.share(sum, sum.shape) : backend.output(sum.shape, 'float32', format);
    const size = Float64Array.of(tf.util.sizeFromShape(sum.shape));
    backend.addon.binary(
      BINARY.indexOf('Add'),
      backend.values(sum),
      backend.values(part),
      backend.values(out),
      size,
      ONE,
      ONE,
    );
    return out;
  },
};

/** x·factor where x lies, when nobody else reads it. */
const scaled: Kernel = {
  name: 'LftScaled',
  run(backend, { x, factor }: { x: tf.TensorInfo; factor: tf.TensorInfo }) {
    const out = backend.own(x);
    const size = Float64Array.of(tf.util.sizeFromShape(x.shape));
    const values = backend.values(out);
    backend.addon.binary(
      BINARY.indexOf('Multiply'),
      values,
      backend.values(factor),
      values,
      size,
      ONE,
      Float64Array.of(0),
    );
    return out;
  },
};

export const elementwise: readonly Kernel[] = [...unary, ...binary, accumulate, scaled];

/** The kernels above are for f32; other dtypes go to the plain backend. */
export const FLOAT_ONLY: ReadonlySet<string> = new Set([
  ...UNARY,
  ...BINARY,
  'LftAdd',
  'LftAccumulate',
  'Sum',
  'Mean',
  'Max',
  'Softmax',
  'BatchMatMul',
]);

/** Reductions over trailing axes; others are permuted first. */
const REDUCTIONS = ['Sum', 'Mean', 'Max'];

const reductions = REDUCTIONS.map(
  (name, op): Kernel => ({
    name,
    run(
      backend,
      inputs: { x: tf.TensorInfo },
      attributes: { axis?: number | number[]; reductionIndices?: number | number[]; keepDims: boolean },
    ) {
      const rank = inputs.x.shape.length;
      const axes = tf.util.parseAxisParam(
        attributes.axis ?? attributes.reductionIndices ?? inputs.x.shape.map((_, i) => i),
        inputs.x.shape,
      );
      const kept = inputs.x.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
      const order = [...kept, ...axes];
      const x = order.some((axis, i) => axis !== i)
        ? permuted(backend, inputs.x, order)
        : backend.share(inputs.x, inputs.x.shape);
      const inner = axes.reduce((size, axis) => size * inputs.x.shape[axis]!, 1);
      const outer = tf.util.sizeFromShape(inputs.x.shape) / inner;
      const shape = attributes.keepDims
        ? inputs.x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size))
        : kept.map((axis) => inputs.x.shape[axis]!);
      const y = backend.output(rank === 0 ? [] : shape, 'float32');
      backend.addon.reduce(op, backend.pointer(x), backend.pointer(y), outer, inner);
      backend.disposeData(x.dataId);
      return y;
    },
  }),
);

export function permuted(backend: NativeBackend, x: tf.TensorInfo, order: readonly number[]): tf.TensorInfo {
  const full = x.shape.map((_, axis) => x.shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const out = backend.output(
    order.map((axis) => x.shape[axis]!),
    x.dtype,
  );
  backend.addon.permute(
    backend.pointer(x),
    backend.pointer(out),
    Float64Array.from(out.shape),
    Float64Array.from(order, (axis) => full[axis]!),
  );
  return out;
}

export const reduction: readonly Kernel[] = [
  ...reductions,
  {
    name: 'Softmax',
    run(backend, { logits }: { logits: tf.TensorInfo }) {
      const y = backend.output(logits.shape, 'float32');
      const columns = logits.shape.at(-1)!;
      const rows = tf.util.sizeFromShape(logits.shape) / columns;
      backend.addon.softmax(backend.pointer(logits), backend.pointer(y), rows, columns);
      return y;
    },
  },
];
