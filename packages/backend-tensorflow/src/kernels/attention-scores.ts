import { CompiledKernel } from '../compiled/compiled-kernel.js';
import type { Graph, Value } from '../compiled/graph.js';

/** A score that must not count. Not −∞: a row without any key (padding) would then give NaN. */
const MASKED = -1e9;

/** scale·s where a query at position `at` sees a key at position `key`. With documents both have to be of the same. */
function seen(graph: Graph, s: Value, { scale, at, key }: Geometry, documents?: readonly [Value, Value]): Value {
  const scores = graph.unlessGreater(key, at, graph.run('Mul', graph.wide(s), scale), MASKED);
  return documents ? graph.unlessDifferent(...documents, scores, MASKED) : scores;
}

interface Geometry {
  readonly scale: Value;
  /** Positions, [R, 1] and [keys] */
  readonly at: Value;
  readonly key: Value;
}

/** P = softmax(scores) in the type of s, and log Σ e^score. */
function softmax(graph: Graph, s: Value, scores: Value): readonly Value[] {
  // Any shift near the maximum does.
  const shift = graph.wholeMaximum(scores, 3);
  const exponentials = graph.run('Exp', graph.run('Sub', scores, shift));
  const sum = graph.sum(exponentials, 3);
  return [
    graph.cast(graph.run('RealDiv', exponentials, sum), s.dtype),
    graph.run('AddV2', shift, graph.run('Log', sum)),
  ];
}

/** P again, and dS = scale·P∘(dP − rowsum(P∘dP)), both in the type of s. */
function gradients(graph: Graph, s: Value, dp: Value, scores: Value, logSum: Value, scale: Value): readonly Value[] {
  const p = graph.run('Exp', graph.run('Sub', scores, logSum));
  const d = graph.wide(dp);
  const sum = graph.sum(graph.run('Mul', p, d), 3);
  const ds = graph.run('Mul', graph.run('Mul', p, graph.run('Sub', d, sum)), scale);
  return [graph.cast(p, s.dtype), graph.cast(ds, s.dtype)];
}

/*
 * One pass over the scores q·kᵀ of a block. Rows are rows of the batch: s and dP [B, K, R, keys] with R the stacked queries, logSum
 * [B, K, R, 1], documents of queries [B, 1, R, 1] and of keys [B, 1, 1, keys]. After them positions and scale.
 */
export const attentionScores = {
  probabilities: new CompiledKernel((graph, s, at, key, scale) =>
    softmax(graph, s!, seen(graph, s!, { at: at!, key: key!, scale: scale! })),
  ),
  probabilitiesOfDocuments: new CompiledKernel((graph, s, queries, keys, at, key, scale) =>
    softmax(graph, s!, seen(graph, s!, { at: at!, key: key!, scale: scale! }, [queries!, keys!])),
  ),
  gradients: new CompiledKernel((graph, s, dp, logSum, at, key, scale) => {
    const scores = seen(graph, s!, { at: at!, key: key!, scale: scale! });
    return gradients(graph, s!, dp!, scores, logSum!, scale!);
  }),
  gradientsOfDocuments: new CompiledKernel((graph, s, dp, logSum, queries, keys, at, key, scale) => {
    const scores = seen(graph, s!, { at: at!, key: key!, scale: scale! }, [queries!, keys!]);
    return gradients(graph, s!, dp!, scores, logSum!, scale!);
  }),
};
