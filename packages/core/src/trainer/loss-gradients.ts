import * as tf from '@tensorflow/tfjs-core';
import { differentiate } from '../autodiff/differentiate.js';
import type { SequenceGeometry } from '../models/causal-model.js';
import * as ops from '../ops/index.js';
import { embed, headLoss, type LossRequest, runBlock, withGeometry } from './forward-stages.js';

/** A tensor to differentiate with respect to, and where it acts: −1 the embedding, 0 … blocks−1 a block, blocks the final norm and head. */
export interface Wanted {
  readonly tensor: tf.Tensor;
  readonly stages: readonly number[];
}

export interface GradientRequest extends LossRequest {
  readonly wanted: readonly Wanted[];
  /**
   * Compute blocks again in the backward instead of keeping their activations: all, none, or all but so many from the top. One
   * recomputed block's activations exist at a time. Same numbers.
   */
  readonly recompute: boolean | { readonly keep: number };
  /** Factor on the gradients: one over the labelled tokens makes them those of the mean. Default 1. */
  readonly scale?: number;
  /** What the lowest stage of `wanted` reads, [rows × length, D], where it is known: nothing below is computed then. Taken over. */
  readonly prefix?: tf.Tensor2D | undefined;
}

/** Receives a gradient that is whole, of the tensor with this index in `wanted`, and the summed loss. Owns it; it outlives the scope. */
export type TakeGradient = (index: number, gradient: tf.Tensor, loss: number) => void;

export interface LossGradients {
  /** Sum over the batch's labelled tokens. */
  readonly loss: number;
  /** Gradients of the summed loss times `scale`, in the order of `wanted`. The caller disposes them. */
  readonly gradients: tf.Tensor[];
}

/**
 * Forward and backward. What lies below the lowest wanted tensor runs without a tape and is not differentiated.
 * @throws Error when a wanted tensor has no part in the loss
 */
export function lossGradients(request: GradientRequest): LossGradients {
  const all = new Map<number, tf.Tensor>();
  try {
    const loss = streamGradients(request, (i, gradient) => all.set(i, gradient));
    return { loss, gradients: request.wanted.map((_, i) => all.get(i)!) };
  } catch (error) {
    tf.dispose([...all.values()]);
    throw error;
  }
}

/**
 * As {@link lossGradients}, but hands each gradient over as soon as it is whole, from the top of the model down. The tensor may then be
 * changed: nothing reads it any more.
 * @returns the summed loss
 */
export function streamGradients(request: GradientRequest, take: TakeGradient): number {
  return withGeometry(request, (geometry) => tf.tidy(() => backward(request, geometry, take)));
}

export function lowestStage(wanted: readonly Wanted[]): number {
  return Math.min(...wanted.flatMap(({ stages }) => stages));
}

/** Stages that are differentiated on one tape: −1 the embedding, 0 … blocks−1 the blocks, blocks the final norm and head. */
interface Segment {
  readonly from: number;
  readonly to: number;
}

/** From the top down: what keeps its activations in one piece, then what is computed again, stage by stage. */
function segmentsOf({ model, wanted, recompute }: GradientRequest): Segment[] {
  const { blocks } = model.info;
  const lowest = lowestStage(wanted);
  const first = Math.max(0, lowest);
  const keep = typeof recompute === 'boolean' ? (recompute ? 0 : blocks) : recompute.keep;
  const top = Math.max(first, blocks - keep);
  // On one tape with the head, a tied embedding adds to the gradient that the head began.
  if (top === 0 && lowest < 0) return [{ from: -1, to: blocks }];
  const segments: Segment[] = [{ from: top, to: blocks }];
  for (let stage = top - 1; stage >= first; stage--) segments.push({ from: stage, to: stage });
  if (lowest < 0) segments.push({ from: -1, to: -1 });
  return segments;
}

/** Runs the segments' tapes from the top down, on inputs that a forward pass without a tape kept. */
function backward(request: GradientRequest, geometry: SequenceGeometry, take: TakeGradient): number {
  const { model, wanted, prefix, scale = 1 } = request;
  const { blocks } = model.info;
  const lowest = lowestStage(wanted);
  const segments = segmentsOf(request);
  const top = segments[0]!.from;

  /** inputs[b]: what block b reads; inputs[blocks]: what the head reads. */
  const inputs: tf.Tensor2D[] = [];
  if (top >= 0) {
    let x = prefix ?? embed(request);
    for (let block = prefix ? lowest : 0; block < top; block++) {
      inputs[block] = x;
      const next = runBlock(request, block, x, geometry);
      if (block < lowest) x.dispose();
      x = next;
    }
    inputs[top] = x;
  }

  const run = ({ from, to }: Segment): tf.Tensor => {
    let y = from < 0 ? embed(request) : inputs[from]!;
    for (let block = Math.max(0, from); block <= Math.min(to, blocks - 1); block++)
      y = runBlock(request, block, y, geometry);
    if (to < blocks) return y;
    const value = headLoss(request, y, true);
    loss = value.dataSync()[0]!;
    return value;
  };

  let loss = 0;
  let dx: tf.Tensor | undefined = tf.scalar(scale);
  /** Sums of parts from different stages, of tensors that act at several. */
  const parts = new Map<number, tf.Tensor>();
  const missing = new Set(wanted.keys());
  for (const segment of segments) {
    const { from, to } = segment;
    const own = wanted.flatMap(({ stages }, i) => (stages.some((stage) => from <= stage && stage <= to) ? [i] : []));
    const sources = own.map((i) => wanted[i]!.tensor);
    if (from > lowest && from >= 0) sources.push(inputs[from]!);
    const dy: tf.Tensor = dx!;
    dx = undefined;
    const value = differentiate(
      () => run(segment),
      sources,
      dy,
      (k, part) => {
        const i = own[k];
        if (i === undefined) {
          dx = part;
          return;
        }
        missing.delete(i);
        const before = parts.get(i);
        const sum = before ? ops.accumulate(before, part) : part;
        if (Math.min(...wanted[i]!.stages) < from) {
          parts.set(i, sum);
          return;
        }
        parts.delete(i);
        take(i, tf.keep(sum), loss);
      },
    );
    tf.dispose([value, dy, ...(from >= 0 ? [inputs[from]!] : [])]);
  }
  const [lost] = missing;
  if (lost !== undefined) {
    throw new Error(
      `the loss does not depend on a tensor of shape [${wanted[lost]!.tensor.shape.join(', ')}] that should be trained`,
    );
  }
  return loss;
}
