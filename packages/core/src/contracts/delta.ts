import type { Scalar, Tensor } from '@tensorflow/tfjs-core';
import type { Parameter } from './parameter.js';

/**
 * How strongly a delta acts: 1 as trained, 0 not at all (the base model exactly), β when IST suppresses it. A scalar tensor when a
 * selector asks for the gradient of the loss with respect to it.
 */
export type Gate = number | Scalar;

/** What a delta is told about the forward pass it takes part in. */
export interface Pass {
  /** True while training: dropout acts. */
  readonly training: boolean;
  /** Seed for a random mask: the same for the same (run seed, step, micro-batch, name), also when a block is computed again. */
  seed(name: string): number;
}

/**
 * What an adapter adds at one site. It has either `apply` (it changes the module's output: LoRA, bottleneck adapters) or
 * `reweight` (it changes the module's weight: full fine-tuning, masks), not both.
 */
export interface Delta {
  readonly parameters: readonly Parameter[];
  /**
   * The module's output with the delta. Runs under the gradient tape, inside a tidy.
   * @param x    [N, in] f32, or [N] int32 ids at an embedding
   * @param base the frozen module; call it on x (parallel adapters), on something else (series adapters before the module), or not at all
   * @param gate 0 must give base(x) bit for bit
   * @returns [N, out] f32
   */
  apply?(x: Tensor, base: (x: Tensor) => Tensor, gate: Gate, pass: Pass): Tensor;
  /**
   * The weight (or bias) to compute with, Hugging Face layout, f32. Runs under the gradient tape, inside a tidy.
   * @param base makes the frozen tensor; costly for a full matrix, so call it only when it is needed (a gate other than 1)
   * @returns undefined when this tensor is not changed
   */
  reweight?(tensor: 'weight' | 'bias', base: () => Tensor, gate: Gate): Tensor | undefined;
  /**
   * The frozen tensor with the delta built in, for `merge`. Absent when the delta cannot be merged (a non-linear adapter), and
   * merge then says so.
   * @param base f32, Hugging Face layout; not disposed here
   */
  merged?(tensor: 'weight' | 'bias', base: Tensor): Tensor;
}
