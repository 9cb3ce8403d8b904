import * as tf from '@tensorflow/tfjs-core';
import { FrozenWeight } from '../weights/frozen-weight.js';
import { type Op, runOp } from './define-op.js';
import { scatterRows } from './embedding.js';
import { times, timesTransposed } from './frozen-products.js';
import { product } from './matmul.js';
import { scaled } from './scaled.js';

/** Logits that exist at a time: 16 Mi values are 64 MiB. */
const LOGIT_VALUES = 16 * 1024 * 1024;

/** The head as a frozen weight or as a tensor, behind the three products that the loss needs. */
interface Head {
  readonly vocabulary: number;
  /** h·Wᵀ: [n, V] */
  logits(h: tf.Tensor2D): tf.Tensor2D;
  /** p·W: [n, D] */
  back(p: tf.Tensor2D): tf.Tensor2D;
  /** W[ids]: [n, D] */
  gather(ids: Int32Array): tf.Tensor2D;
}

function frozenHead(weight: FrozenWeight): Head {
  return {
    vocabulary: weight.rows,
    logits: (h) => timesTransposed(h, weight),
    back: (p) => times(p, weight),
    gather: (ids) => weight.gather(ids),
  };
}

function trainedHead(weight: tf.Tensor2D): Head {
  return {
    vocabulary: weight.shape[0],
    logits: (h) => product(h, weight, false, true),
    back: (p) => tf.matMul(p, weight),
    gather: (ids) => tf.gather(weight, tf.tensor1d(ids, 'int32')) as tf.Tensor2D,
  };
}

type Inputs = { h: tf.Tensor2D } | { h: tf.Tensor2D; weight: tf.Tensor2D };
interface Attributes {
  readonly targets: Int32Array;
  readonly weight: FrozenWeight | undefined;
  /** Which gradients are prepared in the forward pass, where the probabilities are at hand. */
  readonly gradients: 'none' | 'hidden' | 'hidden and weight';
  readonly logitValues: number;
}

const op: Op<Inputs, Attributes> = {
  kernelName: 'LftLinearCrossEntropy',
  saveInputs: [],
  saveOutputs: [false, true, true],
  forward(inputs, { targets, weight, gradients, logitValues }) {
    const { h } = inputs;
    const head = weight ? frozenHead(weight) : trainedHead((inputs as { weight: tf.Tensor2D }).weight);
    const [count, width] = h.shape;
    const chunk = Math.max(1, Math.min(count, Math.floor(logitValues / head.vocabulary)));
    let loss: tf.Scalar = tf.scalar(0);
    let dWeight = tf.zeros(gradients === 'hidden and weight' ? [head.vocabulary, width] : [1]);
    const dHidden: tf.Tensor2D[] = [];
    for (let begin = 0; begin < count; begin += chunk) {
      const end = Math.min(count, begin + chunk);
      const ids = targets.subarray(begin, end);
      const [l, dh, dw] = tf.tidy(() => {
        const rows = tf.slice(h, [begin, 0], [end - begin, width]);
        const logits = head.logits(rows);
        const p = tf.softmax(logits) as tf.Tensor2D;
        // −log p_target = logsumexp − logit_target, and logsumexp = max − log(p_max): no exp over the vocabulary, no underflow.
        const logSumExp = tf.sub(tf.max(logits, -1), tf.log(tf.max(p, -1)));
        const flat = Int32Array.from(ids, (id, i) => i * head.vocabulary + id);
        const target = tf.gather(tf.reshape(logits, [-1]), tf.tensor1d(flat, 'int32'));
        const sum = tf.add(loss, tf.sum(tf.sub(logSumExp, target))) as tf.Scalar;
        if (gradients === 'none') return [sum];
        // dlogits = p − onehot(target), so dh = p·W − W[target] and dW = pᵀ·h − scatter(h).
        const dh = tf.sub(head.back(p), head.gather(ids));
        if (gradients === 'hidden') return [sum, dh];
        const scattered = scatterRows(tf.tensor1d(ids, 'int32'), rows, head.vocabulary);
        return [sum, dh, tf.add(dWeight, tf.sub(product(p, rows, true, false), scattered))];
      });
      tf.dispose([loss]);
      loss = l as tf.Scalar;
      if (dh) dHidden.push(dh as tf.Tensor2D);
      if (dw) {
        dWeight.dispose();
        dWeight = dw as tf.Tensor2D;
      }
    }
    return [loss, dHidden.length > 0 ? tf.concat(dHidden, 0) : tf.zeros([0, width]), dWeight];
  },
  backward: (dy, [dHidden, dWeight]) => ({
    h: () => scaled(dHidden!, dy),
    weight: () => scaled(dWeight!, dy),
  }),
};

/**
 * Cross-entropy of the head's logits, summed over rows: Σ_n −log softmax(h_n·Wᵀ)[target_n]. Logits exist for a chunk of rows at a time.
 * @param h         [n, D] f32, the rows that have a target
 * @param weight    [V, D]; a tensor when it is trained
 * @param targets   n token ids in [0, V)
 * @param gradients whether the result will be differentiated
 * @param logitValues logits that may exist at a time
 * @returns scalar
 */
export function linearCrossEntropy(
  h: tf.Tensor2D,
  weight: FrozenWeight | tf.Tensor2D,
  targets: Int32Array,
  gradients: boolean,
  logitValues = LOGIT_VALUES,
): tf.Scalar {
  const frozen = weight instanceof FrozenWeight;
  return runOp(op, frozen ? { h } : { h, weight }, {
    targets,
    weight: frozen ? weight : undefined,
    gradients: !gradients ? 'none' : frozen ? 'hidden' : 'hidden and weight',
    logitValues,
  })[0] as tf.Scalar;
}
