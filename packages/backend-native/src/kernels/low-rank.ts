import type * as tf from '@tensorflow/tfjs-core';
import type { LowRankShape } from '../addon.js';
import type { NativeBackend } from '../native-backend.js';
import type { Kernel } from './kernel.js';

type Tensors = Record<'y' | 'dy' | 'x' | 'a' | 'b' | 'low', tf.TensorInfo>;

function shapeOf(backend: NativeBackend, { x, a, b }: Tensors, scale: number): LowRankShape {
  return [x.shape[0]!, x.shape[1]!, b.shape[0]!, a.shape[0]!, scale, Number(backend.precision === 'bf16')];
}

export const lowRank: readonly Kernel[] = [
  {
    name: 'LftLowRank',
    run(backend, inputs: Tensors, { scale }: { scale: number }) {
      const { y, x, a, b } = inputs;
      const low = backend.output([x.shape[0]!, a.shape[0]!], 'float32');
      const out = backend.own(y);
      backend.addon.lowRank(
        backend.values(x),
        backend.pointer(a),
        backend.pointer(b),
        backend.pointer(low),
        backend.values(out),
        ...shapeOf(backend, inputs, scale),
      );
      return [out, low];
    },
  },
  {
    name: 'LftLowRankGradients',
    run(backend, inputs: Tensors, { scale }: { scale: number }) {
      const { dy, x, a, b, low } = inputs;
      const dx = backend.output(x.shape, 'float32', backend.format(x));
      const [da, db] = [backend.output(a.shape, 'float32'), backend.output(b.shape, 'float32')];
      backend.addon.lowRankGradients(
        backend.values(dy),
        backend.values(x),
        backend.pointer(a),
        backend.pointer(b),
        backend.pointer(low),
        backend.values(dx),
        backend.pointer(da),
        backend.pointer(db),
        ...shapeOf(backend, inputs, scale),
      );
      return [dx, da, db];
    },
  },
];
