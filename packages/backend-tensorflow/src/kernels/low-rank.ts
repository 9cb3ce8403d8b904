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

/** LftLowRankGradients. @returns dx [N, in] in the format of low, if it `passes`; where x is given, dA [r, in] and dB [out, r] f32 */
export function lowRankGradients(
  inputs: Omit<Tensors, 'y' | 'x'> & Partial<Tensors>,
  { scale, passes }: Attributes & { readonly passes: boolean },
): tf.Tensor[] {
  return RawCall.run((call) => {
    const low = heldTensor(inputs.low);
    const type = low.dtype;
    const dy = call.cast(heldTensor(inputs.dy), type);
    const dLow = call.product(dy, call.cast(call.scaled(call.wide(inputs.b), scale), type));
    const gradients = passes ? [call.product(dLow, call.cast(call.wide(inputs.a), type))] : [];
    if (inputs.x) {
      const da = call.product(dLow, heldTensor(inputs.x), { transposeA: true });
      const db = call.product(dy, low, { transposeA: true });
      gradients.push(call.cast(da, TYPE.float32), call.cast(db, TYPE.float32));
    }
    return gradients.map((each) => call.tensor(each));
  });
}
