import type { Importance } from '../contracts/importance.js';
import type { UnitId } from '../contracts/layer-unit.js';
import { rankUnits } from './ranking.js';

/** How the scores of a block's modules become the block's. */
export type Aggregation = 'mean-rank' | 'mean' | 'sum' | 'max';

/** `model.layers.3` of `model.layers.3.self_attn.q_proj`: the path up to its first number. */
const BLOCK = /^(?:.*?\.)?\d+(?=\.|$)/;

/**
 * A ranking of modules or matrices as a ranking of blocks, so that it can be compared with a block method or drive one. What lies
 * outside the blocks keeps its id.
 * @param by `mean-rank` scores a block with −(mean rank of its modules), which does not depend on the scale of the scores
 */
export function aggregate(importance: Importance, to: 'block' = 'block', by: Aggregation = 'mean-rank'): Importance {
  const ranks = new Map(rankUnits(importance).map((id, index) => [id, index + 1]));
  const groups = new Map<UnitId, number[]>();
  for (const [id, score] of importance.scores) {
    const block = BLOCK.exec(id)?.[0] ?? id;
    const values = groups.get(block) ?? [];
    values.push(by === 'mean-rank' ? -ranks.get(id)! : score);
    groups.set(block, values);
  }
  const scores = new Map<UnitId, number>();
  for (const [id, values] of groups) {
    const sum = values.reduce((a, b) => a + b, 0);
    scores.set(id, by === 'max' ? Math.max(...values) : by === 'sum' ? sum : sum / values.length);
  }
  return { method: importance.method, granularity: to, scores };
}
