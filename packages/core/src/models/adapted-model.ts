import * as tf from '@tensorflow/tfjs-core';
import type { Adapter, Attachment, Init } from '../contracts/adapter.js';
import type { Delta } from '../contracts/delta.js';
import type { Granularity, LayerUnit } from '../contracts/layer-unit.js';
import type { ModuleSite } from '../contracts/module-site.js';
import type { Parameter, ParameterFormat } from '../contracts/parameter.js';
import { LftError } from '../errors/lft-error.js';
import { holdBf16 } from '../ops/hold-bf16.js';
import { keyedRandom } from '../random/keyed-random.js';
import type { CausalModel } from './causal-model.js';
import { type ForwardOptions, ForwardPass } from './forward-pass.js';
import { layerUnits } from './layer-units.js';

/** An adapter's deltas without an adapter: the model as it was loaded. */
const NOTHING: Adapter = { name: 'none', options: {}, attach: () => undefined };

/** A frozen model with an adapter attached to it. Owns the adapter's parameters. */
export class AdaptedModel {
  readonly attachments: readonly Attachment[];
  /** Every trainable tensor, once, in forward order. */
  readonly parameters: readonly Parameter[];
  private readonly deltas: ReadonlyMap<string, Delta>;
  private readonly seed: number;

  /** @throws LftError target-not-found, rank-too-large and what else the adapter finds wrong */
  constructor(
    readonly base: CausalModel,
    readonly adapter: Adapter = NOTHING,
    options: { readonly seed?: number } = {},
  ) {
    this.seed = options.seed ?? 0;
    adapter.prepare?.(base.sites, base.info);
    this.attachments = this.attach();
    this.deltas = new Map(this.attachments.map(({ site, delta }) => [site.path, delta]));
    this.parameters = [...new Set(this.attachments.flatMap(({ delta }) => delta.parameters))];
    const names = new Set(this.parameters.map((parameter) => parameter.name));
    if (names.size !== this.parameters.length) {
      throw new LftError('plugin-invalid', `adapter ${adapter.name} gave two parameters the same name`, { adapter: adapter.name });
    }
  }

  private attach(): Attachment[] {
    return this.base.sites.flatMap((site) => {
      const delta = this.adapter.attach(site, this.init(site));
      return delta ? [{ site, delta }] : [];
    });
  }

  private init(site: ModuleSite): Init {
    const frozen = (tensor: 'weight' | 'bias') => {
      const weight = this.base.weight(site.path, tensor);
      return (
        weight && {
          shape: weight.shape,
          make: (format?: ParameterFormat) => (format === 'bf16' ? holdBf16(weight) : weight.tensor()),
        }
      );
    };
    return {
      random: (name) => keyedRandom(this.seed, 'init', site.path, name),
      weight: () => {
        this.refuseQuantised(site);
        return frozen('weight')!;
      },
      bias: () => frozen('bias'),
    };
  }

  /** A weight that trains would begin at rounded values, and the model that is saved would keep their error. */
  private refuseQuantised({ path }: ModuleSite): void {
    const { format } = this.base.weight(path, 'weight')!;
    if (format !== 'int8' && format !== 'nf4') return;
    throw new LftError(
      'options-invalid',
      `adapter ${this.adapter.name} trains the weight of ${path} itself, and the model holds it as ${format}: its training would begin at rounded values. Load the model with weights 'auto' or 'bf16', or train something beside the weight (LoRA).`,
      { adapter: this.adapter.name, site: path, format },
    );
  }

  /** Number of trainable values. */
  get trainable(): number {
    return this.parameters.reduce((sum, parameter) => sum + parameter.size, 0);
  }

  /** The trainable parameters in groups, in forward order. */
  units(granularity: Granularity): LayerUnit[] {
    return layerUnits(this.attachments, granularity);
  }

  forward(options?: ForwardOptions): ForwardPass {
    return new ForwardPass(this.base, this.deltas, options);
  }

  /** Puts every parameter back to its initial value. */
  reinitialize(): void {
    const fresh = new Map(this.attach().flatMap(({ delta }) => delta.parameters.map((p) => [p.name, p])));
    for (const parameter of this.parameters) {
      const initial = fresh.get(parameter.name);
      if (!initial) throw new LftError('plugin-invalid', `adapter ${this.adapter.name} did not make ${parameter.name} again`);
      parameter.restart(initial);
    }
    for (const parameter of fresh.values()) parameter.dispose();
  }

  /**
   * Logits of every position, in evaluation mode. They exist as a whole: for tests, inspection and short texts.
   * @param rows token ids, all rows of the same length
   * @returns [rows, length, vocabulary] f32; the caller disposes it
   */
  logits(rows: readonly (readonly number[])[], options?: ForwardOptions & { readonly segments?: Int32Array }): tf.Tensor3D {
    const length = rows[0]?.length ?? 0;
    const { base } = this;
    const geometry = base.geometry({
      batch: rows.length,
      length,
      ...(options?.segments ? { segments: options.segments } : {}),
    });
    try {
      return tf.tidy(() => {
        const pass = this.forward(options);
        let x = base.embed(tf.tensor1d(rows.flat(), 'int32'), pass);
        for (let block = 0; block < base.info.blocks; block++) x = tf.tidy(() => base.block(block, x, geometry, pass));
        const logits = pass.linear(base.head, base.norm(x, pass));
        return tf.reshape(logits, [rows.length, length, base.info.vocabularySize]);
      });
    } finally {
      geometry.dispose();
    }
  }

  dispose(): void {
    for (const parameter of this.parameters) parameter.dispose();
  }
}
