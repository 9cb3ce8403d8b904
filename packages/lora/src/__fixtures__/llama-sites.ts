import { type Init, keyedRandom, type ModelInfo, type ModuleSite } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';

/** Sizes of a Llama: width, feed-forward width, width of keys and values, vocabulary. */
export interface LlamaShape {
  blocks: number;
  width: number;
  feedForward: number;
  keys: number;
  vocabulary: number;
}

export const TINY: LlamaShape = { blocks: 5, width: 8, feedForward: 12, keys: 4, vocabulary: 10 };

/** The modules of a Llama without its weights, in forward order. */
export function llamaSites({ blocks, width, feedForward, keys, vocabulary }: LlamaShape): ModuleSite[] {
  const site = (path: string, rest: Omit<ModuleSite, 'path' | 'bias'>): ModuleSite => ({ path, bias: false, ...rest });
  const sites = [
    site('model.embed_tokens', { block: undefined, role: 'embed', kind: 'embedding', in: vocabulary, out: width }),
  ];
  for (let block = 0; block < blocks; block++) {
    const at = `model.layers.${block}`;
    const linear = (name: string, role: ModuleSite['role'], input: number, out: number) =>
      sites.push(site(`${at}.${name}`, { block, role, kind: 'linear', in: input, out }));
    const norm = (name: string) =>
      sites.push(site(`${at}.${name}`, { block, role: 'norm', kind: 'norm', in: width, out: width }));
    norm('input_layernorm');
    linear('self_attn.q_proj', 'q', width, width);
    linear('self_attn.k_proj', 'k', width, keys);
    linear('self_attn.v_proj', 'v', width, keys);
    linear('self_attn.o_proj', 'o', width, width);
    sites.push(site(`${at}.self_attn`, { block, role: 'attn_out', kind: 'sublayer', in: width, out: width }));
    norm('post_attention_layernorm');
    linear('mlp.gate_proj', 'gate', width, feedForward);
    linear('mlp.up_proj', 'up', width, feedForward);
    linear('mlp.down_proj', 'down', feedForward, width);
    sites.push(site(`${at}.mlp`, { block, role: 'mlp_out', kind: 'sublayer', in: width, out: width }));
  }
  sites.push(site('model.norm', { block: undefined, role: 'norm', kind: 'norm', in: width, out: width }));
  sites.push(site('lm_head', { block: undefined, role: 'head', kind: 'linear', in: width, out: vocabulary }));
  return sites;
}

export function modelInfo(shape: LlamaShape, source = 'models/tiny'): ModelInfo {
  return {
    source,
    architecture: 'LlamaForCausalLM',
    modelType: 'llama',
    vocabularySize: shape.vocabulary,
    width: shape.width,
    blocks: shape.blocks,
    contextLength: 64,
    bosTokenId: 1,
    eosTokenIds: [2],
    padTokenId: undefined,
    fingerprint: 'tiny',
  };
}

/** Initial values of one site, with a frozen weight drawn from the seed. */
export function initOf(site: ModuleSite, seed = 0): Init {
  return {
    random: (name) => keyedRandom(seed, 'init', site.path, name),
    weight: () => ({ shape: frozenWeight(site).shape, make: () => frozenWeight(site) }),
    bias: () => undefined,
  };
}

export function frozenWeight(site: ModuleSite): tf.Tensor {
  const random = keyedRandom(0, 'frozen', site.path);
  const shape = { norm: [site.in], embedding: [site.in, site.out], linear: [site.out, site.in], sublayer: [0] }[
    site.kind
  ];
  return tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => random.normal()),
    shape,
  );
}
