import type { FrozenWeight } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { CompiledKernel, paddedRows } from '../compiled/compiled-kernel.js';
import { heldTensor } from '../held-tensors.js';
import { type Held, TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';
import { frozenProduct } from './frozen-product.js';

interface CrossEntropyAttributes {
  readonly targets: Int32Array;
  readonly weight: FrozenWeight | undefined;
  readonly gradients: 'none' | 'hidden' | 'hidden and weight';
  readonly logitValues: number;
}

const losses = new CompiledKernel((calc, logits, labels) => [calc.crossEntropy(calc.wide(logits!), labels!)[0]]);

/** Also softmax(logits) − onehot(label), held as the logits are. */
const lossesAndGradients = new CompiledKernel((calc, logits, labels) => {
  const [loss, gradient] = calc.crossEntropy(calc.wide(logits!), labels!);
  return [loss, calc.cast(gradient, logits!.dtype)];
});

/**
 * LftLinearCrossEntropy: Σ_n −log softmax(h_n·Wᵀ)[target_n], with logits for a chunk of rows at a time. The logits of a bf16 head and
 * their gradients are rounded to bf16, the softmax is f32.
 * @returns loss, dh [n, D], dW [V, D]; [1] in place of a gradient that is not asked for
 */
export function linearCrossEntropy(
  inputs: Record<'h' | 'weight', tf.TensorInfo>,
  { targets, weight, gradients, logitValues }: CrossEntropyAttributes,
): tf.Tensor[] {
  return RawCall.run((call) => {
    const h = heldTensor(inputs.h);
    const trained = weight ? undefined : call.wide(inputs.weight);
    /** x·W, or x·Wᵀ */
    const times = (part: RawCall, x: Held, transposeB: boolean) =>
      trained
        ? part.product(part.cast(x, TYPE.float32), trained, { transposeB })
        : frozenProduct(part, x, weight!, transposeB);
    const sums: Held[] = [];
    const dHidden: Held[] = [];
    let dWeight: Held | undefined;
    const rows = Math.floor(logitValues / (weight?.rows ?? trained!.shape[0]!));
    for (const [begin, size] of chunks(h.shape[0]!, rows)) {
      // The logits of a chunk are freed before the next.
      RawCall.run((part) => {
        const keep = (held: Held) => part.handOver(held, call);
        const x = part.slice(h, 0, begin, size);
        const labels = part.upload([size], TYPE.int32, targets.slice(begin, begin + size));
        const kernel = gradients === 'none' ? losses : lossesAndGradients;
        const [loss, dLogits] = kernel.run(part, [times(part, x, true), labels]);
        sums.push(keep(loss!));
        if (!dLogits) return;
        dHidden.push(keep(times(part, dLogits, false)));
        if (gradients === 'hidden') return;
        const dw = part.product(dLogits, part.cast(x, TYPE.float32), { transposeA: true });
        dWeight = keep(dWeight ? part.binary('AddV2', dWeight, dw) : dw);
      });
    }
    const none = () => tf.zeros([1]);
    if (sums.length === 0) return [tf.scalar(0), tf.zeros(h.shape as [number, number]), none()];
    return [
      call.tensor(call.sum(call.concat(sums, 0), 0)),
      dHidden.length > 0 ? call.tensor(call.concat(dHidden, 0)) : none(),
      dWeight ? call.tensor(dWeight) : none(),
    ];
  });
}

/** Begin and size of chunks of at most `limit` rows, of as many as are not padded where there are as many. */
function chunks(count: number, limit: number): [begin: number, size: number][] {
  let most = Math.max(1, Math.min(count, limit));
  while (most < count && paddedRows(most) > most) most--;
  return Array.from({ length: Math.ceil(count / most) }, (_, i) => [i * most, Math.min(most, count - i * most)]);
}
