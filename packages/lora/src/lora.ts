import {
  type Adapter,
  type AdapterFormat,
  type Delta,
  type Init,
  type Json,
  type LazyValue,
  LftError,
  type ModelInfo,
  type ModuleSite,
  Parameter,
  parseOptions,
  type Random,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { LoraDelta } from './lora-delta.js';
import { LoraEmbeddingDelta } from './lora-embedding-delta.js';
import { type LoraOptions, loraOptions, type ResolvedLoraOptions } from './options.js';
import { checkSavedTensors, readPeftFolder, type SavedAdapter, writePeftFolder } from './peft-format.js';
import { SavedModuleDelta } from './saved-module-delta.js';
import { loraScale } from './scale.js';
import { checkTargets, type SiteShape, strength, type Treatment, treatment } from './targets.js';

/**
 * Low-rank adaptation (arXiv 2106.09685): beside a frozen weight W [out, in] it trains A [r, in] and B [out, r], and the module computes
 * with W + s·B·A. Folders are read and written as PEFT does.
 * @throws LftError options-invalid
 */
export function lora(options: LoraOptions = {}): Adapter {
  return new LoraAdapter(resolve(options), undefined);
}

/**
 * An adapter that PEFT or this library saved, with its values.
 * @param folder with adapter_config.json and adapter_model.safetensors
 * @throws LftError file-missing, adapter-format; and adapter-mismatch when it is put on a model that it does not fit
 */
export async function loadLora(folder: string): Promise<Adapter> {
  const saved = await readPeftFolder(folder);
  return new LoraAdapter(saved.options, saved);
}

/** Number of values that LoRA with these options trains on a model with these modules, modules to save included. */
export function loraSize(options: LoraOptions, sites: readonly SiteShape[]): number {
  const resolved = resolve(options);
  checkTargets(resolved, sites);
  let size = 0;
  for (const site of sites) {
    for (const shape of shapes(site, treatment(resolved, site), strength(resolved, site.path).rank).values()) {
      size += shape.reduce((product, length) => product * length, 1);
    }
  }
  return size;
}

function resolve(options: LoraOptions): ResolvedLoraOptions {
  const resolved = parseOptions('lora', loraOptions, options);
  if (resolved.blocks && typeof resolved.targets === 'string' && resolved.targets !== 'all-linear') {
    throw new LftError(
      'options-invalid',
      'lora: blocks does not go with a regular expression in targets, as in PEFT: write the blocks into the expression, or give targets as a list of names',
      { targets: resolved.targets, blocks: resolved.blocks },
    );
  }
  return resolved;
}

/** Shape of every parameter at a site, by its name after the path. */
function shapes(site: SiteShape, treatment: Treatment, rank: number): Map<string, number[]> {
  if (treatment === undefined) return new Map();
  if (treatment === 'lora') {
    const a = [rank, site.in];
    const b = [site.out, rank];
    return site.kind === 'embedding'
      ? new Map([
          ['lora_embedding_A', a],
          ['lora_embedding_B', b],
        ]) // PEFT keeps these two without ".weight"
      : new Map([
          ['lora_A.weight', a],
          ['lora_B.weight', b],
        ]);
  }
  const weight = { norm: [site.in], embedding: [site.in, site.out], linear: [site.out, site.in], sublayer: [] };
  const result = new Map([['weight', weight[site.kind]]]);
  if (site.bias) result.set('bias', [site.out]);
  return result;
}

class LoraAdapter implements Adapter {
  readonly name = 'lora';
  readonly options: Json;
  readonly format: AdapterFormat = {
    name: 'peft',
    write: (folder, attachments, model) =>
      writePeftFolder(
        folder,
        attachments,
        model,
        this.resolved,
        this.sites ?? attachments.map((attachment) => attachment.site),
      ),
  };
  private sites: readonly ModuleSite[] | undefined;

  constructor(
    private readonly resolved: ResolvedLoraOptions,
    private readonly saved: SavedAdapter | undefined,
  ) {
    // Through JSON, since options that were not given are absent there, not undefined.
    this.options = JSON.parse(JSON.stringify(resolved)) as Json;
  }

  prepare(sites: readonly ModuleSite[], model: ModelInfo): void {
    this.sites = sites;
    if (!this.saved) {
      checkTargets(this.resolved, sites);
      return;
    }
    const expected = new Map<string, readonly number[]>();
    for (const site of sites) {
      for (const [name, shape] of this.shapes(site)) expected.set(`${site.path}.${name}`, shape);
    }
    checkSavedTensors(this.saved, expected, sites, model);
  }

  attach(site: ModuleSite, init: Init): Delta | undefined {
    const [first, second] = Array.from(this.shapes(site), ([name, shape]) => {
      const saved = this.saved?.tensors.get(`${site.path}.${name}`);
      const value = saved ? tf.tensor(saved.values.slice(), [...saved.shape]) : this.initial(name, shape, init);
      return new Parameter(`${site.path}.${name}`, value);
    });
    if (!first) return undefined;
    if (this.treatment(site) === 'saved') return new SavedModuleDelta(first, second);
    const { rsLora, dropout } = this.resolved;
    const scale = loraScale({ ...strength(this.resolved, site.path), rsLora });
    return site.kind === 'embedding'
      ? new LoraEmbeddingDelta(first, second!, scale)
      : new LoraDelta(first, second!, scale, dropout);
  }

  private shapes(site: SiteShape): Map<string, number[]> {
    return shapes(site, this.treatment(site), strength(this.resolved, site.path).rank);
  }

  /** A saved adapter stands where its file has tensors: it may have been trained in a part of what its configuration names. */
  private treatment(site: SiteShape): Treatment {
    const wanted = treatment(this.resolved, site);
    if (!this.saved || wanted === undefined) return wanted;
    const names = [...shapes(site, wanted, 1).keys()];
    return names.some((name) => this.saved!.tensors.has(`${site.path}.${name}`)) ? wanted : undefined;
  }

  /** The values before training, as PEFT draws them (init_lora_weights true, "gaussian", false). */
  private initial(name: string, shape: number[], init: Init): tf.Tensor | LazyValue {
    const random = init.random(name);
    const [rows, columns] = shape as [number, number];
    const mode = this.resolved.init;
    switch (name) {
      case 'lora_A.weight':
        if (mode === 'gaussian') return filled(shape, () => random.normal() / rows);
        return filled(shape, uniform(random, 1 / Math.sqrt(columns)));
      case 'lora_B.weight':
        return mode === 'random' ? filled(shape, uniform(random, 1 / Math.sqrt(columns))) : tf.zeros(shape);
      case 'lora_embedding_A':
        return mode === 'random' ? filled(shape, () => random.normal()) : tf.zeros(shape);
      case 'lora_embedding_B':
        return filled(shape, () => random.normal());
      case 'bias':
        return init.bias()!;
      default:
        return init.weight();
    }
  }
}

function filled(shape: number[], draw: () => number): tf.Tensor {
  const values = new Float32Array(tf.util.sizeFromShape(shape));
  for (let i = 0; i < values.length; i++) values[i] = draw();
  return tf.tensor(values, shape);
}

function uniform(random: Random, bound: number): () => number {
  return () => (2 * random.next() - 1) * bound;
}
