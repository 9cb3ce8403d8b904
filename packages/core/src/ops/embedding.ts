import * as tf from '@tensorflow/tfjs-core';
import type { FrozenWeight } from '../weights/frozen-weight.js';
import { type Op, runOnto, runOp } from './define-op.js';

type EmbeddingInputs = { table: tf.Tensor2D; ids: tf.Tensor1D };

const op: Op<EmbeddingInputs, { rows: number }> = {
  kernelName: 'LftEmbedding',
  saveInputs: ['ids'],
  forward: ({ table, ids }) => tf.gather(table, ids),
  backward: (dy, [ids], { rows }) => ({
    table: (sum) => scatterRows(ids as tf.Tensor1D, dy as tf.Tensor2D, rows, sum),
  }),
};

/**
 * Sums rows that share an index: out[ids[n]] += x[n].
 * @param sum what it may be added to, see `InputGradient`
 * @returns [rows, D]
 */
export function scatterRows(ids: tf.Tensor1D, x: tf.Tensor2D, rows: number, sum?: tf.Tensor): tf.Tensor2D {
  const fused = runOnto(sum, 'LftScatterRows', { ids, x }, { rows });
  if (fused) return fused[0] as tf.Tensor2D;
  return tf.scatterND(tf.expandDims(ids, 1), x, [rows, x.shape[1]]) as tf.Tensor2D;
}

/**
 * The rows of a table. A trained table (a tensor) gets a gradient: rows that occur twice get the sum of both.
 * @param table [V, D]
 * @param ids   [N] int32, each in [0, V)
 * @returns [N, D] f32
 */
export function embedding(table: FrozenWeight | tf.Tensor2D, ids: tf.Tensor1D): tf.Tensor2D {
  if (!(table instanceof tf.Tensor)) return table.gather(ids.dataSync());
  return runOp(op, { table, ids }, { rows: table.shape[0] })[0] as tf.Tensor2D;
}
