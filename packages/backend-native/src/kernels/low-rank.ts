import type * as tf from '@tensorflow/tfjs-core';
import type { LowRankShape } from '../addon.js';
import type { NativeBackend } from '../native-backend.js';
import type { Kernel } from './kernel.js';

type Tensors = Record<'y' | 'dy' | 'x' | 'a' | 'b' | 'low' | 'sum', tf.TensorInfo>;

function shapeOf(
  backend: NativeBackend,
  rows: number,
  { a, b }: Pick<Tensors, 'a' | 'b'>,
  scale: number,
): LowRankShape {
  return [rows, a.shape[1]!, b.shape[0]!, a.shape[0]!, scale, Number(backend.precision === 'bf16')];
}

export const lowRank: readonly Kernel[] = [
  {
    name: 'LftLowRank',
    run(backend, inputs: Tensors, { scale }: { scale: number }) {
      const { y, x, a, b } = inputs;
      // Transposed, for the products here.
      const low = backend.output([a.shape[0]!, x.shape[0]!], 'float32', backend.format(x));
      const out = backend.own(y);
      backend.addon.lowRank(
        backend.values(x),
        backend.pointer(a),
        backend.pointer(b),
        backend.values(low),
        backend.values(out),
        ...shapeOf(backend, x.shape[0]!, inputs, scale),
      );
      return [out, low];
    },
  },
  {
    // dx, if it is passed on, added to the sum where it can be; dA and dB where x is given.
    name: 'LftLowRankGradients',
    run(
      backend,
      inputs: Omit<Tensors, 'y' | 'x' | 'sum'> & Partial<Tensors>,
      { scale, passes }: { scale: number; passes: boolean },
    ) {
      const { dy, x, a, b, low, sum } = inputs;
      const dx = passes ? backend.gradient([dy.shape[0]!, a.shape[1]!], backend.format(low), sum) : undefined;
      const factors = x ? [a, b].map(({ shape }) => backend.output(shape, 'float32')) : [];
      const [da, db] = factors.map((each) => backend.pointer(each));
      backend.addon.lowRankGradients(
        backend.values(dy),
        x ? backend.values(x) : 0,
        backend.pointer(a),
        backend.pointer(b),
        backend.values(low),
        dx ? backend.values(dx.out) : 0,
        da ?? 0,
        db ?? 0,
        dx?.adds ?? 0,
        ...shapeOf(backend, dy.shape[0]!, inputs, scale),
      );
      return [...(dx ? [dx.out] : []), ...factors];
    },
  },
];
