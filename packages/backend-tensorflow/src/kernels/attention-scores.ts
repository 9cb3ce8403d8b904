import { CompiledKernel } from '../compiled/compiled-kernel.js';
import type { Operations, Value } from '../compiled/operations.js';

/** A score that must not count. Not −∞: a row without any key (padding) would then give NaN. */
const MASKED = -1e9;

/** scale·s where a query at position `at` sees a key at position `key`. With documents both have to be of the same. */
function seen(calc: Operations, s: Value, { scale, at, key }: Geometry, documents?: readonly [Value, Value]): Value {
  const scores = calc.unless('Greater', key, at, calc.run('Mul', calc.wide(s), scale), MASKED);
  return documents ? calc.unless('NotEqual', ...documents, scores, MASKED) : scores;
}

interface Geometry {
  readonly scale: Value;
  /** Positions, [R, 1] and [keys] */
  readonly at: Value;
  readonly key: Value;
}

/** P = softmax(scores) in the type of s, and log Σ e^score. */
function softmax(calc: Operations, s: Value, scores: Value): readonly Value[] {
  // Any shift near the maximum does.
  const shift = calc.wholeMaximum(scores, 3);
  const exponentials = calc.run('Exp', calc.run('Sub', scores, shift));
  const sum = calc.sum(exponentials, 3);
  return [calc.cast(calc.run('RealDiv', exponentials, sum), s.dtype), calc.run('AddV2', shift, calc.run('Log', sum))];
}

/** P again, and dS = scale·P∘(dP − rowsum(P∘dP)), both in the type of s. */
function gradients(
  calc: Operations,
  s: Value,
  dp: Value,
  scores: Value,
  logSum: Value,
  scale: Value,
): readonly Value[] {
  const p = calc.run('Exp', calc.run('Sub', scores, logSum));
  const d = calc.wide(dp);
  const sum = calc.sum(calc.run('Mul', p, d), 3);
  const ds = calc.run('Mul', calc.run('Mul', p, calc.run('Sub', d, sum)), scale);
  return [calc.cast(p, s.dtype), calc.cast(ds, s.dtype)];
}

/*
 * One pass over the scores q·kᵀ of a block. Rows are rows of the batch: s and dP [B, K, R, keys] with R the stacked queries, logSum
 * [B, K, R, 1], documents of queries [B, 1, R, 1] and of keys [B, 1, 1, keys]. After them positions and scale.
 */
export const attentionScores = {
  probabilities: new CompiledKernel((calc, s, at, key, scale) =>
    softmax(calc, s!, seen(calc, s!, { at: at!, key: key!, scale: scale! })),
  ),
  probabilitiesOfDocuments: new CompiledKernel((calc, s, queries, keys, at, key, scale) =>
    softmax(calc, s!, seen(calc, s!, { at: at!, key: key!, scale: scale! }, [queries!, keys!])),
  ),
  gradients: new CompiledKernel((calc, s, dp, logSum, at, key, scale) => {
    const scores = seen(calc, s!, { at: at!, key: key!, scale: scale! });
    return gradients(calc, s!, dp!, scores, logSum!, scale!);
  }),
  gradientsOfDocuments: new CompiledKernel((calc, s, dp, logSum, queries, keys, at, key, scale) => {
    const scores = seen(calc, s!, { at: at!, key: key!, scale: scale! }, [queries!, keys!]);
    return gradients(calc, s!, dp!, scores, logSum!, scale!);
  }),
};
