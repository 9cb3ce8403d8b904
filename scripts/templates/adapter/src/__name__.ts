import {
  type Adapter,
  type AdapterPlugin,
  type Delta,
  type Gate,
  type Json,
  LftError,
  type ModuleSite,
  nearestName,
  Parameter,
  parseOptions,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

export const __camel__Options = z.object({
  targets: z
    .array(z.string().min(1))
    .min(1)
    .default(['k_proj', 'v_proj', 'down_proj'])
    .describe('Linear modules to adapt: the last part of their path'),
});

export type __Pascal__Options = z.input<typeof __camel__Options>;

/** A learned factor per output channel of a linear module: y = (1 + l) ⊙ (x·Wᵀ + b), l = 0 at the start. */
export function __camel__(options: __Pascal__Options = {}): Adapter {
  return new __Pascal__(parseOptions('adapter __name__', __camel__Options, options));
}

const leaf = (site: ModuleSite) => site.path.slice(site.path.lastIndexOf('.') + 1);

class __Pascal__ implements Adapter {
  readonly name = '__name__';
  readonly options: Json;

  constructor(private readonly settings: z.output<typeof __camel__Options>) {
    this.options = settings;
  }

  prepare(sites: readonly ModuleSite[]): void {
    const there = new Set(sites.filter((site) => site.kind === 'linear').map(leaf));
    for (const target of this.settings.targets) {
      if (there.has(target)) continue;
      const near = nearestName(target, there);
      throw new LftError(
        'target-not-found',
        `adapter __name__: no linear module is called "${target}"${near ? `: did you mean "${near}"?` : '.'} The model has ${[...there].join(', ')}`,
        { target, there: [...there] },
      );
    }
  }

  attach(site: ModuleSite): Delta | undefined {
    return site.kind === 'linear' && this.settings.targets.includes(leaf(site)) ? new __Pascal__Delta(site) : undefined;
  }
}

class __Pascal__Delta implements Delta {
  readonly parameters: readonly Parameter[];
  /** l [out]. */
  private readonly factors: Parameter;

  constructor(site: ModuleSite) {
    this.factors = new Parameter(`${site.path}.__name__`, tf.zeros([site.out]));
    this.parameters = [this.factors];
  }

  /** @returns [N, out]; with gate 0 the factor is exactly 1 */
  apply(x: tf.Tensor, base: (x: tf.Tensor) => tf.Tensor, gate: Gate): tf.Tensor {
    return tf.mul(base(x), tf.add(1, tf.mul(this.factors.variable, gate)));
  }

  /** (1 + l) ⊙ W by rows, (1 + l) ⊙ b. */
  merged(tensor: 'weight' | 'bias', base: tf.Tensor): tf.Tensor {
    return tf.tidy(() => {
      const factors = tf.add(1, this.factors.variable);
      return tf.mul(base, tensor === 'weight' ? tf.expandDims(factors, 1) : factors);
    });
  }
}

/** `lft train --adapter __name__`. */
export const adapter: AdapterPlugin<typeof __camel__Options> = {
  name: '__name__',
  summary: '__name__: a learned factor per output channel',
  options: __camel__Options,
  create: __camel__,
};
