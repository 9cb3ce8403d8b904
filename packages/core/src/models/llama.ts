import * as tf from '@tensorflow/tfjs-core';
import { capabilities } from '../backend/capabilities.js';
import type { ModelInfo } from '../contracts/model-info.js';
import type { ModuleKind, ModuleRole, ModuleSite } from '../contracts/module-site.js';
import * as ops from '../ops/index.js';
import type { FrozenWeight } from '../weights/frozen-weight.js';
import type { CausalModel, GeometryRequest, KeyValueCache, ModuleForward, SequenceGeometry } from './causal-model.js';
import type { LlamaConfig } from './llama-config.js';
import { inverseFrequencies, ropeTables } from './rope.js';

/** The modules of a Llama, in forward order, with the names of its files. */
export function llamaSites(config: LlamaConfig): ModuleSite[] {
  const { hidden_size: width, intermediate_size: inner, vocab_size: vocabulary, head_dim: headWidth } = config;
  const queries = config.num_attention_heads * headWidth;
  const keys = config.num_key_value_heads * headWidth;
  const { attention_bias: attentionBias, mlp_bias: mlpBias } = config;
  const sites: ModuleSite[] = [];
  const add = (block: number | undefined, name: string, role: ModuleRole, kind: ModuleKind, from: number, to: number, bias = false) =>
    sites.push({ path: block === undefined ? name : `model.layers.${block}.${name}`, block, role, kind, in: from, out: to, bias });
  add(undefined, 'model.embed_tokens', 'embed', 'embedding', vocabulary, width);
  for (let block = 0; block < config.num_hidden_layers; block++) {
    add(block, 'input_layernorm', 'norm', 'norm', width, width);
    add(block, 'self_attn.q_proj', 'q', 'linear', width, queries, attentionBias);
    add(block, 'self_attn.k_proj', 'k', 'linear', width, keys, attentionBias);
    add(block, 'self_attn.v_proj', 'v', 'linear', width, keys, attentionBias);
    add(block, 'self_attn.o_proj', 'o', 'linear', queries, width, attentionBias);
    add(block, 'self_attn', 'attn_out', 'sublayer', width, width);
    add(block, 'post_attention_layernorm', 'norm', 'norm', width, width);
    add(block, 'mlp.gate_proj', 'gate', 'linear', width, inner, mlpBias);
    add(block, 'mlp.up_proj', 'up', 'linear', width, inner, mlpBias);
    add(block, 'mlp.down_proj', 'down', 'linear', inner, width, mlpBias);
    add(block, 'mlp', 'mlp_out', 'sublayer', width, width);
  }
  add(undefined, 'model.norm', 'norm', 'norm', width, width);
  const head: ModuleSite = { path: 'lm_head', block: undefined, role: 'head', kind: 'linear', in: width, out: vocabulary, bias: false };
  sites.push(config.tie_word_embeddings ? { ...head, tiedTo: 'model.embed_tokens' } : head);
  return sites;
}

/** Llama (Touvron et al. 2023): grouped-query attention with rotary positions, SwiGLU, RMS norms before each sublayer. */
export class Llama implements CausalModel {
  readonly head = 'lm_head';
  readonly sites: readonly ModuleSite[];
  private readonly frequencies: Float64Array;
  /** What goes into products beside matrices of less than f32 is rounded to bf16 where the backend can. */
  private readonly activations: 'f32' | 'bf16';
  /** By path; a tied head has the embedding's. */
  private readonly weights = new Map<string, { readonly weight: FrozenWeight | undefined; readonly bias: FrozenWeight | undefined }>();

  /** @param weights by tensor name, e.g. `model.norm.weight` */
  constructor(
    readonly info: ModelInfo,
    private readonly config: LlamaConfig,
    weights: ReadonlyMap<string, FrozenWeight>,
  ) {
    this.sites = llamaSites(config);
    for (const { path, tiedTo } of this.sites) {
      const of = (tensor: string) => weights.get(`${tiedTo ?? path}.${tensor}`);
      this.weights.set(path, { weight: of('weight'), bias: of('bias') });
    }
    const matrices = [...weights.values()].filter(({ shape }) => shape.length > 1);
    this.activations = matrices.every(({ format }) => format === 'f32') ? 'f32' : 'bf16';
    this.frequencies = inverseFrequencies(config, config.head_dim, `${info.source}/config.json`);
  }

  get activationBytesPerToken(): number {
    // What the tape keeps of a block: the residual stream before each sublayer, and both norms, q, k, v, the mixed values, gate, up and
    // their product, of which an adapter's choice of sites may need less.
    const { hidden_size: width, intermediate_size: inner, head_dim: headWidth } = this.config;
    const heads = this.config.num_attention_heads + this.config.num_key_value_heads;
    const bytes = this.activations === 'bf16' && capabilities().holdsBf16 ? 2 : 4;
    return 4 * 2 * width + bytes * (2 * width + 2 * heads * headWidth + 3 * inner);
  }

  weight(path: string, tensor: 'weight' | 'bias'): FrozenWeight | undefined {
    return this.weights.get(path)?.[tensor];
  }

  geometry({ batch, length, segments, past = 0 }: GeometryRequest): SequenceGeometry {
    const positions = new Int32Array(batch * length);
    for (let n = 0; n < positions.length; n++) {
      const starts = n % length === 0 || (segments && segments[n] !== segments[n - 1]);
      positions[n] = starts ? past : positions[n - 1]! + 1;
    }
    const tables = ropeTables(this.frequencies, positions);
    const shape: [number, number, number] = [positions.length, 1, this.config.head_dim];
    const cos = tf.keep(tf.tensor3d(tables.cos, shape));
    const sin = tf.keep(tf.tensor3d(tables.sin, shape));
    const mask = new ops.CausalMask(batch, length, past + length, segments);
    return { batch, length, cos, sin, mask, dispose: () => [cos, sin, mask].forEach((part) => part.dispose()) };
  }

  embed(ids: tf.Tensor1D, modules: ModuleForward): tf.Tensor2D {
    return modules.embedding('model.embed_tokens', ids);
  }

  block(index: number, x: tf.Tensor2D, geometry: SequenceGeometry, modules: ModuleForward, cache?: KeyValueCache): tf.Tensor2D {
    const decoded = cache && this.decode(index, x, geometry, modules, cache);
    if (decoded) return decoded;
    const path = `model.layers.${index}`;
    const epsilon = this.config.rms_norm_eps;
    const attended = this.attention(
      index,
      ops.rmsNorm(x, modules.scale(`${path}.input_layernorm`), epsilon, this.activations),
      geometry,
      modules,
      cache,
    );
    const afterAttention = ops.add(x, modules.sublayer(`${path}.self_attn`, attended));
    const normed = ops.rmsNorm(afterAttention, modules.scale(`${path}.post_attention_layernorm`), epsilon, this.activations);
    const inner = ops.swiglu(
      modules.linear(`${path}.mlp.gate_proj`, normed),
      modules.linear(`${path}.mlp.up_proj`, normed),
    );
    return ops.add(afterAttention, modules.sublayer(`${path}.mlp`, modules.linear(`${path}.mlp.down_proj`, inner)));
  }

  /** The block in one piece: for a single new token, where the frozen weights act alone and the backend can. */
  private decode(index: number, x: tf.Tensor2D, geometry: SequenceGeometry, modules: ModuleForward, cache: KeyValueCache) {
    const entry = geometry.batch === 1 && geometry.length === 1 && cache.entry(index);
    const weights = entry && this.frozenBlock(`model.layers.${index}`, modules);
    if (!entry || !weights) return undefined;
    const { num_attention_heads: heads, rms_norm_eps: epsilon } = this.config;
    const after = ops.decodeBlock({ x, ...entry }, geometry, { weights, heads, epsilon, activations: this.activations });
    if (after) cache.replace(index, after);
    return after?.x;
  }

  /** A block's weights, where nothing else acts in it. */
  private frozenBlock(path: string, modules: ModuleForward): ops.DecoderWeights | undefined {
    const names = {
      inputNorm: 'input_layernorm',
      q: 'self_attn.q_proj',
      k: 'self_attn.k_proj',
      v: 'self_attn.v_proj',
      o: 'self_attn.o_proj',
      outputNorm: 'post_attention_layernorm',
      gate: 'mlp.gate_proj',
      up: 'mlp.up_proj',
      down: 'mlp.down_proj',
    };
    if (!modules.frozen(`${path}.self_attn`) || !modules.frozen(`${path}.mlp`)) return undefined;
    const weights: Record<string, FrozenWeight> = {};
    for (const [key, name] of Object.entries(names)) {
      const { weight, bias } = modules.frozen(`${path}.${name}`) ?? {};
      if (!weight || bias) return undefined;
      weights[key] = weight;
    }
    return weights as unknown as ops.DecoderWeights;
  }

  private attention(index: number, x: tf.Tensor2D, geometry: SequenceGeometry, modules: ModuleForward, cache?: KeyValueCache): tf.Tensor2D {
    const path = `model.layers.${index}.self_attn`;
    const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: width } = this.config;
    const { batch, length, cos, sin, mask } = geometry;
    const tokens = batch * length;
    const turned = (name: string, count: number) => {
      // Turned before it is reshaped: a reshape would keep the projection for its shape.
      const projected = ops.rotary(modules.linear(`${path}.${name}`, x), cos, sin);
      return tf.reshape(projected, [batch, length, count, width]) as tf.Tensor4D;
    };
    const q = turned('q_proj', heads);
    const own = {
      k: turned('k_proj', kvHeads),
      v: tf.reshape(modules.linear(`${path}.v_proj`, x), [batch, length, kvHeads, width]) as tf.Tensor4D,
    };
    const { k, v } = cache ? cache.append(index, own.k, own.v) : own;
    const mixed = ops.attention(q, k, v, mask, 1 / Math.sqrt(width));
    return modules.linear(`${path}.o_proj`, tf.reshape(mixed, [tokens, heads * width]));
  }

  norm(x: tf.Tensor2D, modules: ModuleForward): tf.Tensor2D {
    return ops.rmsNorm(x, modules.scale('model.norm'), this.config.rms_norm_eps, this.activations);
  }

  async dispose(): Promise<void> {
    this.weights.clear();
  }
}
