import * as tf from '@tensorflow/tfjs-core';
import type { Delta, Gate, Pass } from '../contracts/delta.js';
import * as ops from '../ops/index.js';
import { keyedSeed } from '../random/keyed-random.js';
import type { CausalModel, ModuleForward } from './causal-model.js';

export interface ForwardOptions {
  /** Dropout acts. Default false. */
  readonly training?: boolean;
  /** Gate of a site's delta, by site path; 1 where none is named. */
  readonly gates?: ReadonlyMap<string, Gate>;
  /** Tells this pass's random masks from those of other passes. */
  readonly seed?: number;
}

/** The model's modules with an adapter's deltas and their gates: what the blocks of one pass compute with. */
export class ForwardPass implements ModuleForward {
  private readonly training: boolean;
  private readonly gates: ReadonlyMap<string, Gate>;
  private readonly seed: number;
  private drew = false;

  constructor(
    private readonly model: CausalModel,
    private readonly deltas: ReadonlyMap<string, Delta>,
    { training = false, gates = new Map(), seed = 0 }: ForwardOptions = {},
  ) {
    this.training = training;
    this.gates = gates;
    this.seed = seed;
  }

  /** Whether a delta has asked for a seed: its output then differs from pass to pass. */
  get random(): boolean {
    return this.drew;
  }

  private gate(path: string): Gate {
    return this.gates.get(path) ?? 1;
  }

  private pass(path: string): Pass {
    const seed = (name: string) => {
      this.drew = true;
      return keyedSeed(this.seed, path, name);
    };
    return { training: this.training, seed };
  }

  /** The site's weight or bias as it acts in this pass: trained (a tensor) or frozen. */
  private effective(path: string, tensor: 'weight' | 'bias') {
    const frozen = this.model.weight(path, tensor);
    const gate = this.gate(path);
    const delta = this.deltas.get(path);
    // Gate 0 is the base model bit for bit, whatever the delta would do with a zero.
    if (!frozen || gate === 0 || !delta?.reweight) return frozen;
    return delta.reweight(tensor, () => frozen.tensor(), gate) ?? frozen;
  }

  private tensorOf(path: string, tensor: 'weight' | 'bias'): tf.Tensor | undefined {
    const effective = this.effective(path, tensor);
    return effective && !(effective instanceof tf.Tensor) ? effective.tensor() : effective;
  }

  /** Runs a site's `apply`, where there is one and its gate is not shut. */
  private applied(path: string, x: tf.Tensor, base: (x: tf.Tensor) => tf.Tensor): tf.Tensor {
    const delta = this.deltas.get(path);
    const gate = this.gate(path);
    if (!delta?.apply || gate === 0) return base(x);
    return delta.apply(x, base, gate, this.pass(path));
  }

  linear(path: string, x: tf.Tensor2D): tf.Tensor2D {
    const base = (input: tf.Tensor) =>
      ops.linear(
        input as tf.Tensor2D,
        this.effective(path, 'weight') as Parameters<typeof ops.linear>[1],
        this.tensorOf(path, 'bias'),
        path === this.model.head ? 'f32' : undefined,
      );
    return this.applied(path, x, base) as tf.Tensor2D;
  }

  embedding(path: string, ids: tf.Tensor1D): tf.Tensor2D {
    const base = (input: tf.Tensor) =>
      ops.embedding(this.effective(path, 'weight') as Parameters<typeof ops.embedding>[0], input as tf.Tensor1D);
    return this.applied(path, ids, base) as tf.Tensor2D;
  }

  scale(path: string): tf.Tensor1D {
    return this.tensorOf(path, 'weight') as tf.Tensor1D;
  }

  frozen(path: string) {
    const delta = this.deltas.get(path);
    if (delta && this.gate(path) !== 0 && (delta.apply || delta.reweight)) return undefined;
    return { weight: this.model.weight(path, 'weight'), bias: this.model.weight(path, 'bias') };
  }

  sublayer(path: string, x: tf.Tensor2D): tf.Tensor2D {
    return this.applied(path, x, (input) => input) as tf.Tensor2D;
  }

  /** Σ_n −log p(target_n | h_n). The fused op, unless an adapter changes the head's output. */
  headLoss(h: tf.Tensor2D, targets: Int32Array, gradients: boolean): tf.Scalar {
    const path = this.model.head;
    if (this.deltas.get(path)?.apply && this.gate(path) !== 0) {
      return crossEntropy(this.linear(path, h), targets);
    }
    const weight = this.effective(path, 'weight') as Parameters<typeof ops.linearCrossEntropy>[1];
    return ops.linearCrossEntropy(h, weight, targets, gradients);
  }
}

/** Cross-entropy of logits [n, V] that exist as a whole, summed over rows. */
function crossEntropy(logits: tf.Tensor2D, targets: Int32Array): tf.Scalar {
  const [rows, vocabulary] = logits.shape;
  const flat = tf.tensor1d(Int32Array.from(targets, (id, n) => n * vocabulary + id), 'int32');
  const target = ops.embedding(tf.reshape(logits, [rows * vocabulary, 1]), flat);
  // The maximum is a constant of the shift: it cancels in the value and in the gradient.
  const max = tf.tensor1d(tf.tidy(() => tf.max(logits, -1).dataSync() as Float32Array));
  const shifted = tf.sub(logits, tf.reshape(max, [rows, 1]));
  const logSumExp = tf.add(tf.log(tf.sum(tf.exp(shifted), -1)), max);
  return tf.sum(tf.sub(logSumExp, tf.reshape(target, [rows]))) as tf.Scalar;
}
