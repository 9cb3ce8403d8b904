import * as tf from '@tensorflow/tfjs-core';

/** One parameter's part in an AdamW step. */
export interface AdamWSlot {
  readonly parameter: tf.Variable;
  /** First and second moment, replaced by the step. */
  readonly m: tf.Variable;
  readonly v: tf.Variable;
  readonly gradient: tf.Tensor;
  /** The parameter's own step count, this step included. */
  readonly step: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  /** Where the parameter and its moments are held in bf16: the seed of their stochastic rounding. */
  readonly roundingSeed?: number | undefined;
}

export interface AdamWHyper {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** `torch`: decay first, ε after the bias correction. `hf_legacy`: ε before it, decay last (old transformers, GaLore). */
  readonly variant: 'torch' | 'hf_legacy';
}

/** Name under which a backend may register one call for all parameters: attributes { slots, hyper }, in place, no result. */
const KERNEL = 'LftAdamWStep';

/** Moves every parameter and its moments in place. Loshchilov & Hutter 2019; order and ε as in torch.optim.AdamW. */
export function adamwStep(slots: readonly AdamWSlot[], hyper: AdamWHyper): void {
  if (tf.getKernel(KERNEL, tf.getBackend())) {
    tf.engine().runKernel(KERNEL, {}, { slots, hyper } as unknown as tf.NamedAttrMap);
    return;
  }
  for (const slot of slots) tf.tidy(() => stepOne(slot, hyper));
}

function stepOne(slot: AdamWSlot, { beta1, beta2, epsilon, variant }: AdamWHyper): void {
  const { parameter, m, v, gradient, step, learningRate, weightDecay } = slot;
  const correction1 = 1 - beta1 ** step;
  const correction2 = 1 - beta2 ** step;
  m.assign(tf.add(tf.mul(m, beta1), tf.mul(gradient, 1 - beta1)));
  v.assign(tf.add(tf.mul(v, beta2), tf.mul(tf.square(gradient), 1 - beta2)));
  const root = tf.sqrt(v);
  if (variant === 'torch') {
    const decayed = weightDecay === 0 ? parameter : tf.mul(parameter, 1 - learningRate * weightDecay);
    const denominator = tf.add(tf.div(root, Math.sqrt(correction2)), epsilon);
    parameter.assign(tf.sub(decayed, tf.mul(tf.div(m, denominator), learningRate / correction1)));
  } else {
    const rate = (learningRate * Math.sqrt(correction2)) / correction1;
    const moved = tf.sub(parameter, tf.mul(tf.div(m, tf.add(root, epsilon)), rate));
    parameter.assign(weightDecay === 0 ? moved : tf.mul(moved, 1 - learningRate * weightDecay));
  }
}
