import * as tf from '@tensorflow/tfjs-core';
import type { CausalModel, SequenceGeometry } from '../models/causal-model.js';
import type { ForwardPass } from '../models/forward-pass.js';
import * as ops from '../ops/index.js';
import type { Batch } from './batch.js';

/** A tensor to differentiate with respect to, and where it acts: −1 the embedding, 0 … blocks−1 a block, blocks the final norm and head. */
export interface Wanted {
  readonly tensor: tf.Tensor;
  readonly stages: readonly number[];
}

export interface LossRequest {
  readonly model: CausalModel;
  readonly pass: ForwardPass;
  readonly batch: Batch;
  /** Gate of each block's contribution to the residual; 0 skips it. For evaluation only. */
  readonly blockGates?: ReadonlyMap<number, number>;
}

function geometryOf({ model, batch }: LossRequest): SequenceGeometry {
  return model.geometry({
    batch: batch.rows,
    length: batch.length,
    ...(batch.segments ? { segments: batch.segments } : {}),
  });
}

function embed({ model, pass, batch }: LossRequest): tf.Tensor2D {
  return model.embed(tf.tensor1d(batch.ids, 'int32'), pass);
}

function runBlock({ model, pass, blockGates }: LossRequest, index: number, x: tf.Tensor2D, geometry: SequenceGeometry) {
  const gate = blockGates?.get(index) ?? 1;
  if (gate === 0) return x;
  const y = model.block(index, x, geometry, pass);
  return gate === 1 ? y : (tf.add(x, tf.mul(tf.sub(y, x), gate)) as tf.Tensor2D);
}

/** Summed loss of the tokens that predict a label, from the hidden states after the last block. */
function headLoss({ model, pass, batch }: LossRequest, x: tf.Tensor2D, gradients: boolean): tf.Scalar {
  // Only the rows with a target pass the final norm and the head: padding and prompts cost nothing here.
  const rows = ops.embedding(x, tf.tensor1d(batch.predicting, 'int32'));
  return pass.headLoss(model.norm(rows, pass), batch.targets, gradients);
}

/** Sum over the batch's labelled tokens of −log p. In evaluation; keeps one block's activations at a time. */
export function summedLoss(request: LossRequest): number {
  const geometry = geometryOf(request);
  try {
    return tf.tidy(() => {
      let x = embed(request);
      for (let block = 0; block < request.model.info.blocks; block++) {
        const next = tf.tidy(() => runBlock(request, block, x, geometry));
        if (next !== x) x.dispose();
        x = next;
      }
      return headLoss(request, x, false).dataSync()[0]!;
    });
  } finally {
    geometry.dispose();
  }
}

/** Hidden states [tokens, width] before block 0 and after every block. The caller disposes them. */
export function hiddenStates(request: LossRequest): tf.Tensor2D[] {
  const geometry = geometryOf(request);
  try {
    return tf.tidy(() => {
      const states = [embed(request)];
      for (let block = 0; block < request.model.info.blocks; block++) {
        states.push(tf.tidy(() => tf.clone(runBlock(request, block, states[block]!, geometry))));
      }
      return states;
    });
  } finally {
    geometry.dispose();
  }
}

export interface GradientRequest extends LossRequest {
  readonly wanted: readonly Wanted[];
  /**
   * Compute blocks again in the backward instead of keeping their activations: all, none, or so many of those that are differentiated,
   * from the lowest. One recomputed block's activations exist at a time. Same numbers.
   */
  readonly recompute: boolean | number;
}

export interface LossGradients {
  /** Sum over the batch's labelled tokens. */
  readonly loss: number;
  /** Gradients of the summed loss, in the order of `wanted`. The caller disposes them. */
  readonly gradients: tf.Tensor[];
}

/**
 * Forward and backward. What lies below the lowest wanted tensor runs without a tape and is not differentiated.
 * @throws Error when a wanted tensor has no part in the loss
 */
export function lossGradients(request: GradientRequest): LossGradients {
  const geometry = geometryOf(request);
  try {
    return backward(request, geometry);
  } finally {
    geometry.dispose();
  }
}

function lowestStage(wanted: readonly Wanted[]): number {
  return Math.min(...wanted.flatMap(({ stages }) => stages));
}

function checkGradients(gradients: (tf.Tensor | null | undefined)[], wanted: readonly Wanted[]): tf.Tensor[] {
  return gradients.map((gradient, i) => {
    if (gradient) return gradient;
    throw new Error(
      `the loss does not depend on a tensor of shape [${wanted[i]!.tensor.shape.join(', ')}] that should be trained`,
    );
  });
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
  const again = recompute === true ? blocks : Number(recompute);
  const top = Math.min(blocks, first + again);
  const segments: Segment[] = [{ from: top, to: blocks }];
  for (let stage = top - 1; stage >= first; stage--) segments.push({ from: stage, to: stage });
  if (lowest < 0) segments.push({ from: -1, to: -1 });
  return segments;
}

/** Runs the segments' tapes from the top down, on inputs that a forward pass without a tape kept. */
function backward(request: GradientRequest, geometry: SequenceGeometry): LossGradients {
  const { model, wanted } = request;
  const { blocks } = model.info;
  const lowest = lowestStage(wanted);
  const segments = segmentsOf(request);
  const top = segments[0]!.from;
  let loss = 0;
  const gradients = tf.tidy(() => {
    const totals: (tf.Tensor | undefined)[] = wanted.map(() => undefined);
    /** inputs[b]: what block b reads; inputs[blocks]: what the head reads. */
    const inputs: tf.Tensor2D[] = [];
    let x = embed(request);
    for (let block = 0; block < top; block++) {
      inputs[block] = x;
      const next = tf.tidy(() => runBlock(request, block, x, geometry));
      if (block < lowest) x.dispose();
      x = next;
    }
    inputs[top] = x;

    const run = ({ from, to }: Segment): tf.Tensor => {
      if (from < 0) return embed(request);
      let y = inputs[from]!;
      for (let block = from; block <= Math.min(to, blocks - 1); block++) {
        const before = y;
        // The scope ends what the tape does not keep: much of what a block makes is not needed for its gradient.
        y = tf.tidy(() => runBlock(request, block, before, geometry));
      }
      return to === blocks ? headLoss(request, y, true) : y;
    };

    let dx: tf.Tensor | undefined;
    for (const segment of segments) {
      const { from, to } = segment;
      const own = wanted.flatMap(({ stages }, i) => (stages.some((stage) => from <= stage && stage <= to) ? [i] : []));
      const needsInput = from > lowest && from >= 0;
      const sources = [...(needsInput ? [inputs[from]!] : []), ...own.map((i) => wanted[i]!.tensor)];
      const { value, grads } = tf.engine().gradients(() => run(segment), sources, dx, true);
      if (to === blocks) loss = value.dataSync()[0]!;
      tf.dispose([value, ...(dx ? [dx] : [])]);
      const [inputGradient, ...parts] = needsInput ? grads : [undefined, ...grads];
      dx = inputGradient;
      own.forEach((i, k) => {
        const part = parts[k];
        const before = totals[i];
        if (!part || !before) totals[i] = part ?? before;
        else {
          totals[i] = tf.add(before, part);
          tf.dispose([before, part]);
        }
      });
      if (from >= 0) inputs[from]!.dispose();
    }
    return checkGradients(totals, wanted);
  });
  return { loss, gradients };
}
