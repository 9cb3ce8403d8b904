import * as tf from '@tensorflow/tfjs-core';
import { differentiate } from '../autodiff/differentiate.js';
import type { SequenceGeometry } from '../models/causal-model.js';
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

/** Receives gradients that are whole, by index in `wanted`, and the summed loss. Owns them; they outlive the scope. */
export type TakeGradients = (gradients: ReadonlyMap<number, tf.Tensor>, loss: number) => void;

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
    const loss = streamGradients(request, (gradients) => {
      for (const [i, gradient] of gradients) all.set(i, gradient);
    });
    return { loss, gradients: request.wanted.map((_, i) => all.get(i)!) };
  } catch (error) {
    tf.dispose([...all.values()]);
    throw error;
  }
}

/**
 * As {@link lossGradients}, but hands gradients over as soon as they are whole, from the top of the model down: after each recomputed
 * block its own, those of the blocks that kept their activations together.
 * @returns the summed loss
 */
export function streamGradients(request: GradientRequest, take: TakeGradients): number {
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
  const segments: Segment[] = [{ from: top, to: blocks }];
  for (let stage = top - 1; stage >= first; stage--) segments.push({ from: stage, to: stage });
  if (lowest < 0) segments.push({ from: -1, to: -1 });
  return segments;
}

/** Runs the segments' tapes from the top down, on inputs that a forward pass without a tape kept. */
function backward(request: GradientRequest, geometry: SequenceGeometry, take: TakeGradients): number {
  const { model, wanted, prefix, scale = 1 } = request;
  const { blocks } = model.info;
  const lowest = lowestStage(wanted);
  const segments = segmentsOf(request);
  const top = segments[0]!.from;

  /** inputs[b]: what block b reads; inputs[blocks]: what the head reads. */
  const inputs: tf.Tensor2D[] = [];
  let x = prefix ?? embed(request);
  for (let block = prefix ? lowest : 0; block < top; block++) {
    inputs[block] = x;
    const next = runBlock(request, block, x, geometry);
    if (block < lowest) x.dispose();
    x = next;
  }
  inputs[top] = x;

  const run = ({ from, to }: Segment): tf.Tensor => {
    if (from < 0) return embed(request);
    let y = inputs[from]!;
    for (let block = from; block <= Math.min(to, blocks - 1); block++) y = runBlock(request, block, y, geometry);
    return to === blocks ? headLoss(request, y, true) : y;
  };

  let loss = 0;
  let dx: tf.Tensor | undefined = tf.scalar(scale);
  /** Sums of parts from different stages, of tensors that act at several. */
  const parts = new Map<number, tf.Tensor>();
  for (const segment of segments) {
    const { from, to } = segment;
    const own = wanted.flatMap(({ stages }, i) => (stages.some((stage) => from <= stage && stage <= to) ? [i] : []));
    const needsInput = from > lowest && from >= 0;
    const sources = [...(needsInput ? [inputs[from]!] : []), ...own.map((i) => wanted[i]!.tensor)];
    const { value, gradients: grads } = differentiate(() => run(segment), sources, dx!);
    if (to === blocks) loss = value.dataSync()[0]!;
    tf.dispose([value, ...(dx ? [dx] : []), ...(from >= 0 ? [inputs[from]!] : [])]);
    const [inputGradient, ...gradients] = needsInput ? grads : [undefined, ...grads];
    dx = inputGradient;
    own.forEach((i, k) => {
      const [before, part] = [parts.get(i), gradients[k]];
      if (before && part) {
        parts.set(i, tf.add(before, part));
        tf.dispose([before, part]);
      } else if (part) parts.set(i, part);
    });
    const whole = new Map<number, tf.Tensor>();
    for (const i of own) {
      if (Math.min(...wanted[i]!.stages) < from) continue;
      const gradient = parts.get(i);
      if (!gradient) {
        throw new Error(
          `the loss does not depend on a tensor of shape [${wanted[i]!.tensor.shape.join(', ')}] that should be trained`,
        );
      }
      whole.set(i, gradient);
      parts.delete(i);
    }
    for (const gradient of whole.values()) tf.keep(gradient);
    if (whole.size > 0) take(whole, loss);
  }
  return loss;
}
