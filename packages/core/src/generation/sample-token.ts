import type { Random } from '../random/keyed-random.js';

export interface SamplingOptions {
  /** 0 takes the likeliest token (greedy); higher values flatten the distribution. */
  readonly temperature: number;
  /** Only the likeliest tokens whose probabilities sum to at least this are drawn from (Holtzman et al. 2020). */
  readonly topP: number;
}

/** Chooses a token from logits [V]. Ties go to the lower id. */
export function sampleToken(logits: Float32Array, { temperature, topP }: SamplingOptions, random: Random): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[best]!) best = id;
  if (temperature === 0) return best;
  const max = logits[best]!;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - max) / temperature));
  let total = weights.reduce((sum, weight) => sum + weight, 0);
  let candidates: ArrayLike<number> = Uint32Array.from(weights, (_, id) => id);
  if (topP < 1) {
    const order = Uint32Array.from(candidates as Uint32Array).sort((a, b) => weights[b]! - weights[a]! || a - b);
    let kept = 0;
    let count = 0;
    while (count < order.length && kept < topP * total) kept += weights[order[count++]!]!;
    candidates = order.subarray(0, count);
    total = kept;
  }
  let left = random.next() * total;
  for (let i = 0; i < candidates.length; i++) {
    left -= weights[candidates[i]!]!;
    if (left < 0) return candidates[i]!;
  }
  // Rounding may leave a crumb after the last candidate.
  return candidates[candidates.length - 1]!;
}
