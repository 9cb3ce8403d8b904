import type { FrozenWeight } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { RawCall, TYPE } from '../node-binding.js';
import { frozenProduct } from './frozen-product.js';

interface CrossEntropyAttributes {
  readonly targets: Int32Array;
  readonly weight: FrozenWeight | undefined;
  readonly gradients: 'none' | 'hidden' | 'hidden and weight';
  readonly logitValues: number;
}

/** The loss of each row and its gradient softmax(logits) − onehot(target), in one pass. */
function softmaxLoss(logits: tf.Tensor2D, targets: Int32Array): [losses: tf.Tensor1D, gradient: tf.Tensor2D] {
  return RawCall.run((call) => {
    const labels = tf.tensor1d(targets, 'int32');
    const attributes = [call.type('T', TYPE.float32), call.type('Tlabels', TYPE.int32)];
    const inputs = [call.idOf(logits), call.idOf(labels)];
    return call.executeTensors('SparseSoftmaxCrossEntropyWithLogits', attributes, inputs, 2) as [
      tf.Tensor1D,
      tf.Tensor2D,
    ];
  });
}

/**
 * LftLinearCrossEntropy: Σ_n −log softmax(h_n·Wᵀ)[target_n], with logits for a chunk of rows at a time. The logits of a bf16 head are
 * rounded to bf16, the softmax is f32.
 * @returns loss, dh [n, D], dW [V, D]
 */
export function linearCrossEntropy(inputs: tf.NamedTensorInfoMap, attributes: CrossEntropyAttributes): tf.Tensor[] {
  const { targets, weight: frozen, gradients, logitValues } = attributes;
  return tf.tidy(() => {
    const h = inputs.h as tf.Tensor2D;
    const trained = inputs.weight as tf.Tensor2D;
    const vocabulary = frozen ? frozen.rows : trained.shape[0];
    const [count, width] = h.shape;
    const chunk = Math.max(1, Math.min(count, Math.floor(logitValues / vocabulary)));
    let loss: tf.Tensor = tf.scalar(0);
    let dWeight = tf.zeros(gradients === 'hidden and weight' ? [vocabulary, width] : [1]);
    const dHidden: tf.Tensor2D[] = [];
    for (let begin = 0; begin < count; begin += chunk) {
      const size = Math.min(chunk, count - begin);
      const [sum, dh, dw] = tf.tidy(() => {
        const rows = tf.slice(h, [begin, 0], [size, width]) as tf.Tensor2D;
        const logits = frozen
          ? frozenProduct(rows, frozen, true)
          : (tf.matMul(rows, trained, false, true) as tf.Tensor2D);
        const [losses, dLogits] = softmaxLoss(logits, targets.subarray(begin, begin + size));
        const total = tf.add(loss, tf.sum(losses));
        if (gradients === 'none') return [total];
        const back = frozen ? frozenProduct(dLogits, frozen, false) : tf.matMul(dLogits, trained);
        if (gradients === 'hidden') return [total, back];
        return [total, back, tf.add(dWeight, tf.matMul(dLogits, rows, true, false))];
      });
      loss.dispose();
      loss = sum!;
      if (dh) dHidden.push(dh as tf.Tensor2D);
      if (dw) {
        dWeight.dispose();
        dWeight = dw;
      }
    }
    return [loss, dHidden.length > 0 ? tf.concat(dHidden, 0) : tf.zeros([0, width]), dWeight];
  });
}
