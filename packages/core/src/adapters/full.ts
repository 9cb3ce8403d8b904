import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Adapter, Init } from '../contracts/adapter.js';
import type { Delta, Gate } from '../contracts/delta.js';
import type { ModuleSite } from '../contracts/module-site.js';
import { type LazyValue, Parameter, type ParameterFormat } from '../contracts/parameter.js';
import type { AdapterPlugin } from '../contracts/plugin.js';
import { LftError } from '../errors/lft-error.js';
import { nearestName } from '../errors/nearest-name.js';
import { parseOptions } from '../errors/parse-options.js';
import { withSavedParameters } from './saved-parameters.js';

export const fullOptions = z.object({
  targets: z
    .union([z.literal('all'), z.array(z.string())])
    .default('all')
    .describe("'all', or module names (`q_proj`, `embed_tokens`) or paths whose weights are trained"),
  weights: z
    .enum(['f32', 'bf16'])
    .default('f32')
    .describe(
      'how matrices that train, and the moments of their optimizer, are held; bf16 takes half the memory, is rounded stochastically, and needs the native backend',
    ),
});

export type FullOptions = z.input<typeof fullOptions>;

/** Vectors, of norms, are small and stay f32. */
const matrixOrVector = (name: string, value: LazyValue, format: ParameterFormat) =>
  new Parameter(name, value, value.shape.length > 1 ? format : 'f32');

/** A module's own weight and bias, trained. */
class FullDelta implements Delta {
  readonly parameters: readonly Parameter[];
  private readonly byTensor: ReadonlyMap<string, Parameter>;

  constructor(site: ModuleSite, init: Init, format: ParameterFormat) {
    const bias = init.bias();
    const parameters: [string, Parameter][] = [
      ['weight', matrixOrVector(`${site.path}.weight`, init.weight(), format)],
    ];
    if (bias) parameters.push(['bias', new Parameter(`${site.path}.bias`, bias)]);
    this.byTensor = new Map(parameters);
    this.parameters = [...this.byTensor.values()];
  }

  reweight(tensor: 'weight' | 'bias', base: () => tf.Tensor, gate: Gate): tf.Tensor | undefined {
    const parameter = this.byTensor.get(tensor);
    // What has never trained is the frozen weight, whatever a number says about it; a gate that is a tensor wants its gradient.
    if (!parameter || (!parameter.made && typeof gate === 'number')) return undefined;
    if (gate === 1) return parameter.variable;
    const frozen = base();
    const trained = parameter.made ? parameter.variable : frozen;
    return tf.add(frozen, tf.mul(tf.sub(trained, frozen), gate));
  }

  merged(tensor: 'weight' | 'bias', base: tf.Tensor): tf.Tensor {
    const parameter = this.byTensor.get(tensor);
    return (parameter?.made ? parameter.variable : base).clone();
  }
}

/**
 * Full fine-tuning: trains the weights themselves. A weight that has not trained yet is the frozen one, without a copy. A tied head shares
 * the embedding's delta, so its gradient is the sum of both uses and its optimizer state exists once.
 */
export function full(options: FullOptions = {}): Adapter {
  const { targets, weights } = parseOptions('full', fullOptions, options);
  const wanted = (site: ModuleSite) =>
    site.kind !== 'sublayer' &&
    (targets === 'all' || targets.some((target) => site.path === target || site.path.endsWith(`.${target}`)));
  const deltas = new Map<string, Delta>();
  return {
    name: 'full',
    options: { targets, weights },
    prepare(sites) {
      deltas.clear();
      if (targets === 'all') return;
      const names = [
        ...new Set(sites.filter((site) => site.kind !== 'sublayer').map((site) => site.path.split('.').at(-1)!)),
      ];
      for (const target of targets) {
        if (
          sites.some((site) => site.kind !== 'sublayer' && (site.path === target || site.path.endsWith(`.${target}`)))
        )
          continue;
        const near = nearestName(target, names);
        throw new LftError(
          'target-not-found',
          `full: no module is called "${target}"${near ? `; did you mean "${near}"?` : ''} There is: ${names.join(', ')}`,
          { target, names },
        );
      }
    },
    attach(site, init) {
      if (!wanted(site)) return undefined;
      const delta = (site.tiedTo && deltas.get(site.tiedTo)) || new FullDelta(site, init, weights);
      deltas.set(site.path, delta);
      return delta;
    },
  };
}

/**
 * Reads a folder that a run with `full()` was saved to: the adapter attaches the saved weights.
 * @throws LftError file-missing, adapter-format, safetensors-invalid; when it is attached, adapter-mismatch
 */
export async function loadFull(folder: string): Promise<Adapter> {
  return withSavedParameters(full, fullOptions, folder);
}

export const fullAdapter: AdapterPlugin<typeof fullOptions> = {
  name: 'full',
  summary: 'Full fine-tuning: the weights themselves are trained',
  options: fullOptions,
  create: full,
  format: 'full',
  load: loadFull,
};
