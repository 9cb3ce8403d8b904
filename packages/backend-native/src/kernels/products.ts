import type { FrozenWeight } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import type { Source } from '../addon.js';
import type { Format, NativeBackend } from '../native-backend.js';
import { frozenProduct, withMatrix } from './frozen-product.js';
import type { Kernel } from './kernel.js';

const rounding = (backend: NativeBackend) => (backend.precision === 'bf16' ? 1 : 0);

/** Activations beside a weight are held as it is, as under PyTorch's autocast. */
const formatBeside = (backend: NativeBackend, weight: FrozenWeight): Format =>
  weight.format === 'f32' && backend.precision === 'f32' ? 'f32' : 'bf16';

function multiply(
  backend: NativeBackend,
  a: tf.TensorInfo,
  b: tf.TensorInfo,
  transposeA: boolean,
  transposeB: boolean,
): tf.TensorInfo {
  const [aRows, aColumns] = a.shape.slice(-2) as [number, number];
  const [bRows, bColumns] = b.shape.slice(-2) as [number, number];
  const rows = transposeA ? aColumns : aRows;
  const inner = transposeA ? aRows : aColumns;
  const columns = transposeB ? bRows : bColumns;
  const batch = a.shape.slice(0, -2).reduce((product, size) => product * size, 1);
  // Rows beside a weight in bf16 are held as it is, and others as they were; a product over the rows, which is a trained weight's gradient, is f32.
  const format = transposeA || [a, b].every((x) => backend.format(x) === 'f32') ? 'f32' : 'bf16';
  const out = backend.output([...a.shape.slice(0, -2), rows, columns], 'float32', format);
  for (let i = 0; i < batch; i++) {
    backend.addon.matmul(
      backend.values(a) + i * aRows * aColumns * backend.valueBytes(a),
      backend.values(b) + i * bRows * bColumns * backend.valueBytes(b),
      backend.values(out) + i * rows * columns * backend.valueBytes(out),
      rows,
      inner,
      columns,
      Number(transposeA),
      Number(transposeB),
      rounding(backend),
      0,
    );
  }
  return out;
}

type Matrices = { a: tf.TensorInfo; b: tf.TensorInfo };
type Transposes = { transposeA: boolean; transposeB: boolean };

export const products: readonly Kernel[] = [
  {
    name: 'BatchMatMul',
    run: (backend, { a, b }: Matrices, { transposeA, transposeB }: Transposes) =>
      multiply(backend, a, b, transposeA ?? false, transposeB ?? false),
  },
  {
    name: 'LftMatmul',
    run: (backend, { a, b }: Matrices, { transposeA, transposeB }: Transposes) =>
      multiply(backend, a, b, transposeA, transposeB),
  },
  {
    // y = x·Wᵀ
    name: 'LftLinear',
    run(backend, { x }: { x: tf.TensorInfo }, { weight, result }: { weight: FrozenWeight; result?: 'f32' }) {
      const y = backend.output([x.shape[0]!, weight.rows], 'float32', result ?? formatBeside(backend, weight));
      frozenProduct(backend, x, weight, true, y);
      return y;
    },
  },
  {
    // dx = dy·W, added to the sum where it can be
    name: 'LftLinearInputGradient',
    run(backend, { dy, sum }: { dy: tf.TensorInfo; sum?: tf.TensorInfo }, { weight }: { weight: FrozenWeight }) {
      const { out, adds } = backend.gradient([dy.shape[0]!, weight.columns], formatBeside(backend, weight), sum);
      frozenProduct(backend, dy, weight, false, out, adds);
      return out;
    },
  },
  {
    name: 'LftLinearCrossEntropy',
    run(
      backend,
      inputs: { h: tf.TensorInfo; weight?: tf.TensorInfo },
      attributes: { targets: Int32Array; weight?: FrozenWeight; gradients: 'none' | 'hidden' | 'hidden and weight' },
    ) {
      const { h } = inputs;
      const [rows, width] = h.shape as [number, number];
      const vocabulary = attributes.weight?.rows ?? inputs.weight!.shape[0]!;
      const dh = backend.output(attributes.gradients === 'none' ? [1] : h.shape, 'float32');
      const dw = backend.output(attributes.gradients === 'hidden and weight' ? [vocabulary, width] : [1], 'float32');
      const lossBy = (head: Source) =>
        backend.addon.linearCrossEntropy(
          backend.values(h),
          head,
          attributes.targets,
          attributes.gradients === 'none' ? 0 : backend.pointer(dh),
          attributes.gradients === 'hidden and weight' ? backend.pointer(dw) : 0,
          rows,
          vocabulary,
          width,
          rounding(backend),
        );
      const sum = attributes.weight
        ? withMatrix(backend, attributes.weight, lossBy)
        : lossBy(backend.values(inputs.weight!));
      const loss = backend.output([], 'float32');
      backend.addon.write(backend.pointer(loss), Float32Array.of(sum));
      return [loss, dh, dw];
    },
  },
];
