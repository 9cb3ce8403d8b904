import {
  type AdaptedModel,
  type Batch,
  type CausalModel,
  type Gate,
  keyedRandom,
  lossGradients,
  type Parameter,
  summedLoss,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';

/** A derivative in one direction, by the backward pass and by differences of losses. */
export interface DerivativePair {
  readonly what: string;
  readonly backward: number;
  readonly differences: number;
}

/**
 * Fourth-order central difference: (8·(f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h. Its own error goes with h⁴, so that h can be large beside
 * the rounding of f32: a loss summed over 50 tokens is near 200 and rounds at 1e-5, which leaves 1e-5/h in the derivative.
 */
function centralDifference(f: (t: number) => number, h: number): number {
  return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h);
}

/** A steep loss is a curved one: the step is such that the loss moves by 0.1 or less. */
function stepFor(derivative: number): number {
  return Math.min(0.02, 0.1 / (1e-9 + Math.abs(derivative)));
}

/** Sorts parameters into kinds: the same name in another block is the same kind. */
function kindOf({ name }: Parameter): string {
  return name.replace(/\.\d+\./g, '.#.');
}

/**
 * Derivatives of the summed loss (in training mode, with one seed, so that dropout's masks stay) with respect to one parameter of every
 * kind: along its gradient, along a random direction, and along the entry with the largest gradient.
 */
export function parameterDerivatives(adapted: AdaptedModel, batch: Batch, recompute: boolean): DerivativePair[] {
  const model = adapted.base;
  const pass = () => adapted.forward({ training: true, seed: 3 });
  const byKind = new Map(adapted.parameters.map((parameter) => [kindOf(parameter), parameter]));
  const parameters = [...byKind.values()];
  const wanted = parameters.map((parameter) => ({ tensor: parameter.variable, stages: stagesOf(adapted, parameter) }));
  const { gradients } = lossGradients({ model, pass: pass(), batch, wanted, recompute });
  const pairs = parameters.flatMap((parameter, i) => {
    const gradient = gradients[i]!.dataSync() as Float32Array;
    return directionsFor(parameter, gradient).map(({ what, direction }): DerivativePair => {
      const backward = gradient.reduce((sum, value, n) => sum + value * direction[n]!, 0);
      const start = parameter.variable.dataSync().slice() as Float32Array;
      const move = (t: number) =>
        assign(
          parameter,
          start.map((value, n) => value + t * direction[n]!),
        );
      const differences = centralDifference((t) => {
        move(t);
        return summedLoss({ model, pass: pass(), batch });
      }, stepFor(backward));
      assign(parameter, start);
      return { what: `${parameter.name} ${what}`, backward, differences };
    });
  });
  tf.dispose(gradients);
  return pairs;
}

function directionsFor(parameter: Parameter, gradient: Float32Array): { what: string; direction: Float32Array }[] {
  const random = keyedRandom(0, 'direction', parameter.name);
  const unit = (values: Float32Array) => {
    const norm = Math.hypot(...values) || 1;
    return values.map((value) => value / norm);
  };
  const largest = [...gradient.keys()].sort((a, b) => Math.abs(gradient[b]!) - Math.abs(gradient[a]!)).slice(0, 1);
  return [
    { what: 'along its gradient', direction: unit(gradient) },
    { what: 'along a random direction', direction: unit(gradient.map(() => random.normal())) },
    ...largest.map((entry) => ({ what: `at ${entry}`, direction: gradient.map((_, n) => (n === entry ? 1 : 0)) })),
  ];
}

function assign({ variable }: Parameter, values: Float32Array): void {
  tf.tidy(() => variable.assign(tf.tensor(values, variable.shape)));
}

function stagesOf(adapted: AdaptedModel, parameter: Parameter): number[] {
  const sites = adapted.attachments.filter(({ delta }) => delta.parameters.includes(parameter)).map(({ site }) => site);
  return sites.map((site) => site.block ?? (site.kind === 'embedding' ? -1 : adapted.base.info.blocks));
}

/** Derivatives of the summed loss with respect to the gate of every attachment's delta, at gates between 0.5 and 1. */
export function gateDerivatives(adapted: AdaptedModel, batch: Batch, recompute: boolean): DerivativePair[] {
  const model: CausalModel = adapted.base;
  const { attachments } = adapted;
  const at = attachments.map((_, i) => 0.5 + (0.5 * (i % 3)) / 2);
  const scalars = at.map((value) => tf.scalar(value));
  const wanted = attachments.map(({ site }, i) => ({
    tensor: scalars[i]!,
    stages: [site.block ?? (site.kind === 'embedding' ? -1 : model.info.blocks)],
  }));
  const gates = (values: readonly Gate[]) => new Map(attachments.map(({ site }, i) => [site.path, values[i]!]));
  const pass = adapted.forward({ gates: gates(scalars) });
  const { gradients } = lossGradients({ model, pass, batch, wanted, recompute });
  const pairs = attachments.map(({ site }, i): DerivativePair => {
    const loss = (t: number) => {
      const moved = at.map((value, n) => (n === i ? value + t : value));
      return summedLoss({ model, pass: adapted.forward({ gates: gates(moved) }), batch });
    };
    const [backward] = gradients[i]!.dataSync();
    const differences = centralDifference(loss, stepFor(backward!));
    return { what: `gate of ${site.path}`, backward: backward!, differences };
  });
  tf.dispose([...gradients, ...scalars]);
  return pairs;
}

/** The pairs that disagree. */
export function disagreements(pairs: readonly DerivativePair[]): DerivativePair[] {
  return pairs.filter(({ backward, differences }) => {
    // 1 % for the curvature of steep directions, and what f32 leaves of a difference of losses: 1e-5 in a sum of about 100, over 0.02.
    return !(Math.abs(backward - differences) <= 0.01 * Math.abs(differences) + 2e-3);
  });
}
