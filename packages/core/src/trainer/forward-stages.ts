import * as tf from '@tensorflow/tfjs-core';
import type { CausalModel, SequenceGeometry } from '../models/causal-model.js';
import type { ForwardPass } from '../models/forward-pass.js';
import * as ops from '../ops/index.js';
import type { Batch } from './batch.js';

export interface LossRequest {
  readonly model: CausalModel;
  readonly pass: ForwardPass;
  readonly batch: Batch;
  /** Gate of each block's contribution to the residual; 0 skips it. For evaluation only. */
  readonly blockGates?: ReadonlyMap<number, number>;
}

/** Runs `use` with the positions and the mask of the batch. */
export function withGeometry<Result>(
  { model, batch }: LossRequest,
  use: (geometry: SequenceGeometry) => Result,
): Result {
  const geometry = model.geometry({
    batch: batch.rows,
    length: batch.length,
    ...(batch.segments ? { segments: batch.segments } : {}),
  });
  try {
    return use(geometry);
  } finally {
    geometry.dispose();
  }
}

export function embed({ model, pass, batch }: LossRequest): tf.Tensor2D {
  return model.embed(tf.tensor1d(batch.ids, 'int32'), pass);
}

/** The block under its gate. In a scope, which ends what nothing keeps: much of what a block makes is not needed for its gradient. */
export function runBlock(
  { model, pass, blockGates }: LossRequest,
  index: number,
  x: tf.Tensor2D,
  geometry: SequenceGeometry,
): tf.Tensor2D {
  const gate = blockGates?.get(index) ?? 1;
  if (gate === 0) return x;
  return tf.tidy(() => {
    const y = model.block(index, x, geometry, pass);
    return gate === 1 ? y : (tf.add(x, tf.mul(tf.sub(y, x), gate)) as tf.Tensor2D);
  });
}

/** Summed loss of the tokens that predict a label, from the hidden states after the last block. */
export function headLoss({ model, pass, batch }: LossRequest, x: tf.Tensor2D, gradients: boolean): tf.Scalar {
  // Only the rows with a target pass the final norm and the head: padding and prompts cost nothing here.
  const rows = ops.embedding(x, tf.tensor1d(batch.predicting, 'int32'));
  return pass.headLoss(model.norm(rows, pass), batch.targets, gradients);
}

/** What block `stage` reads; with `stage` = blocks, what the final norm reads. Keeps one block's activations at a time. In a scope. */
function statesBefore(request: LossRequest, stage: number, geometry: SequenceGeometry): tf.Tensor2D {
  let x = embed(request);
  for (let block = 0; block < stage; block++) {
    const next = runBlock(request, block, x, geometry);
    if (next !== x) x.dispose();
    x = next;
  }
  return x;
}

/** What block `stage` reads (the final norm with `stage` = blocks): [rows × length, D] f32. The caller disposes it. */
export function prefixStates(request: LossRequest, stage: number): tf.Tensor2D {
  return withGeometry(request, (geometry) => tf.tidy(() => statesBefore(request, stage, geometry)));
}

/** Sum over the batch's labelled tokens of −log p. In evaluation; keeps one block's activations at a time. */
export function summedLoss(request: LossRequest): number {
  return withGeometry(request, (geometry) =>
    tf.tidy(() => {
      const x = statesBefore(request, request.model.info.blocks, geometry);
      return headLoss(request, x, false).dataSync()[0]!;
    }),
  );
}

/** Hidden states [tokens, width] before block 0 and after every block. The caller disposes them. */
export function hiddenStates(request: LossRequest): tf.Tensor2D[] {
  return withGeometry(request, (geometry) =>
    tf.tidy(() => {
      const states = [embed(request)];
      for (let block = 0; block < request.model.info.blocks; block++) {
        states.push(tf.tidy(() => tf.clone(runBlock(request, block, states[block]!, geometry))));
      }
      return states;
    }),
  );
}
