/** σ(x), never 0: a block that looks useless can still be drawn. */
export function sigmoid(x: number): number {
  return Math.max(1 / (1 + Math.exp(-x)), 1e-300);
}

/** IST eq. 4: r_k = e^{−L_k} − mean_j e^{−L_j}. They sum to 0. In double precision: they vanish for large losses. */
export function rewards(losses: readonly number[]): number[] {
  const responses = losses.map((loss) => Math.exp(-loss));
  const mean = responses.reduce((a, b) => a + b, 0) / responses.length;
  return responses.map((response) => response - mean);
}

/**
 * One round as the authors' code has it: a score rises when suppressing the block does no harm, so U is un-importance.
 * U_i += μ · r_k · p_i·(1 − p_i) for every candidate k and every i in C_k, with p = σ(U) as it was before the round.
 * @param candidates C_k: indices of the suppressed blocks
 */
export function codeRound(
  scores: readonly number[],
  candidates: readonly (readonly number[])[],
  losses: readonly number[],
  mu: number,
): number[] {
  const r = rewards(losses);
  const p = scores.map(sigmoid);
  const next = [...scores];
  for (const [k, candidate] of candidates.entries()) {
    for (const i of candidate) next[i]! += mu * r[k]! * p[i]! * (1 - p[i]!);
  }
  return next;
}

/**
 * One round as the paper has it: I_i += μ · r_k for every candidate k and every i in S_c. Since Σ r = 0 this is the code's rule with
 * I = −U, but for the factor p(1 − p).
 * @param candidates S_c: indices of the blocks kept at full response
 */
export function paperRound(
  importance: readonly number[],
  candidates: readonly (readonly number[])[],
  losses: readonly number[],
  mu: number,
): number[] {
  const r = rewards(losses);
  const next = [...importance];
  for (const [k, candidate] of candidates.entries()) {
    for (const i of candidate) next[i]! += mu * r[k]!;
  }
  return next;
}
