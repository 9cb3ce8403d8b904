import type { Gates, Probe, UnitId } from '@lft/core';

/** Which batches the scores are computed on. */
export interface ScoreData {
  readonly examples: number;
  readonly split: 'train' | 'validation';
}

export interface GateOptions extends ScoreData {
  readonly gateStart: number;
  readonly gateSteps: number;
  readonly gateLearningRate: number;
  readonly gateOptimizer: 'adam' | 'sgd';
  readonly penalty: number;
}

/** Scores with the loss at γ = 1 and, where gates were learned, at their start: σ(s_init) ≠ 1 shifts it. */
export interface UnitScores {
  readonly scores: ReadonlyMap<UnitId, number>;
  readonly loss: number;
  readonly gatedLoss?: number;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const allAt = (ids: readonly UnitId[], gate: number): Gates => new Map(ids.map((id) => [id, gate]));

/**
 * ILA, stage 2: θ₀ and Δθ are frozen; one gate γ_i = σ(s_i) a unit is learned on the training loss, min_s L(θ₀ + σ(s) ⊙ Δθ).
 * importance_i = σ(s_i).
 */
export async function learnGates(probe: Probe, ids: readonly UnitId[], options: GateOptions): Promise<UnitScores> {
  const { examples, split, gateStart, gateSteps, gateLearningRate, gateOptimizer, penalty } = options;
  const s = ids.map(() => gateStart);
  const m = ids.map(() => 0);
  const v = ids.map(() => 0);
  const loss = await probe.loss(probe.batch({ size: examples, split, index: 0 }));
  let gatedLoss = Number.NaN;
  for (let n = 0; n < gateSteps; n++) {
    const batch = probe.batch({ size: examples, split, index: n });
    const pass = await probe.gateGradients(batch, new Map(ids.map((id, i) => [id, sigmoid(s[i]!)])));
    if (n === 0) gatedLoss = pass.loss;
    for (const [i, id] of ids.entries()) {
      const gamma = sigmoid(s[i]!);
      // ∂L/∂s_i = γ_i·(1 − γ_i)·∂L/∂γ_i, with λ·Σγ added to the loss.
      const g = gamma * (1 - gamma) * ((pass.gradients.get(id) ?? 0) + penalty);
      if (gateOptimizer === 'sgd') {
        s[i]! -= gateLearningRate * g;
        continue;
      }
      // Adam, β = (0.9, 0.999), ε = 1e-8, no weight decay.
      m[i] = 0.9 * m[i]! + 0.1 * g;
      v[i] = 0.999 * v[i]! + 0.001 * g * g;
      const mHat = m[i]! / (1 - 0.9 ** (n + 1));
      const vHat = v[i]! / (1 - 0.999 ** (n + 1));
      s[i]! -= (gateLearningRate * mHat) / (Math.sqrt(vHat) + 1e-8);
    }
  }
  return { scores: new Map(ids.map((id, i) => [id, sigmoid(s[i]!)])), loss, gatedLoss };
}

/** First-order: −⟨∂L/∂W_i, ΔW_i⟩ = −∂L/∂γ_i at γ = 1, averaged over batches: one backward pass each. */
export async function taylorScores(
  probe: Probe,
  ids: readonly UnitId[],
  options: ScoreData & { readonly batches: number },
): Promise<UnitScores> {
  const { examples, split, batches } = options;
  const scores = new Map<UnitId, number>(ids.map((id) => [id, 0]));
  let loss = 0;
  for (let index = 0; index < batches; index++) {
    const pass = await probe.gateGradients(probe.batch({ size: examples, split, index }), allAt(ids, 1));
    loss += pass.loss / batches;
    for (const id of ids) scores.set(id, scores.get(id)! - (pass.gradients.get(id) ?? 0) / batches);
  }
  return { scores, loss };
}

/** What the loss rises by when one unit alone is switched off, L(γ_i = 0) − L(γ = 1): one forward pass a unit and batch. */
export async function leaveOneOutScores(
  probe: Probe,
  ids: readonly UnitId[],
  options: ScoreData & { readonly batches: number },
): Promise<UnitScores> {
  const { examples, split, batches } = options;
  const scores = new Map<UnitId, number>(ids.map((id) => [id, 0]));
  let loss = 0;
  for (let index = 0; index < batches; index++) {
    const batch = probe.batch({ size: examples, split, index });
    const whole = await probe.loss(batch);
    loss += whole / batches;
    for (const id of ids) {
      const without = await probe.loss(batch, { units: allAt([id], 0) });
      scores.set(id, scores.get(id)! + (without - whole) / batches);
    }
  }
  return { scores, loss };
}
