import type * as tf from '@tensorflow/tfjs-core';
import { heldTensor } from '../held-tensors.js';
import { TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';

type Tensors = Record<'y' | 'dy' | 'x' | 'a' | 'b' | 'low', tf.TensorInfo>;
interface Attributes {
  readonly scale: number;
}

/** LftLowRank: low = s·x·Aᵀ and y + low·Bᵀ, in the format of x. @returns y [N, out], low [N, r] */
export function lowRank(inputs: Tensors, { scale }: Attributes): tf.Tensor[] {
  return RawCall.run((call) => {
    const [x, y] = [heldTensor(inputs.x), heldTensor(inputs.y)];
    const a = call.cast(call.scaled(call.wide(inputs.a), scale), x.dtype);
    const b = call.cast(call.wide(inputs.b), x.dtype);
    const low = call.product(x, a, { transposeB: true });
    const update = call.product(low, b, { transposeB: true });
    const sum = call.binary('AddV2', y, call.cast(update, y.dtype));
    return [call.tensor(sum), call.tensor(low)];
  });
}

/** LftLowRankGradients. @returns dx [N, in] in the format of x; dA [r, in] and dB [out, r] f32 */
export function lowRankGradients(inputs: Tensors, { scale }: Attributes): tf.Tensor[] {
  return RawCall.run((call) => {
    const x = heldTensor(inputs.x);
    const [dy, low] = [call.cast(heldTensor(inputs.dy), x.dtype), call.cast(heldTensor(inputs.low), x.dtype)];
    const a = call.cast(call.wide(inputs.a), x.dtype);
    const b = call.cast(call.scaled(call.wide(inputs.b), scale), x.dtype);
    const dLow = call.product(dy, b);
    const dx = call.product(dLow, a);
    const da = call.product(dLow, x, { transposeA: true });
    const db = call.product(dy, low, { transposeA: true });
    return [dx, call.cast(da, TYPE.float32), call.cast(db, TYPE.float32)].map((each) => call.tensor(each));
  });
}
