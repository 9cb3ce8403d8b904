import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { bfloat16FromFloat32, writeSafetensors } from '@lft/core';
import { randomIntegers } from './tokens.mjs';

/** Llama-like shapes: the smallest of the tinyllamas family, SmolLM2-135M, TinyLlama-1.1B. */
export const SHAPES = {
  '15M': { vocabulary: 32000, width: 288, blocks: 6, heads: 6, keyValueHeads: 6, feedForward: 768, tied: true },
  '135M': { vocabulary: 49152, width: 576, blocks: 30, heads: 9, keyValueHeads: 3, feedForward: 1536, tied: true },
  '1.1B': { vocabulary: 32000, width: 2048, blocks: 22, heads: 32, keyValueHeads: 4, feedForward: 5632, tied: false },
};

export const RANK = 8;
export const LISA_ACTIVE = 2;
export const IST_SHARE = 0.25;

/** Modules of a block and their shapes [out, in], by the names of a Hugging Face file. */
function blockMatrices({ width, heads, keyValueHeads, feedForward }) {
  const keyValue = (width / heads) * keyValueHeads;
  return {
    'self_attn.q_proj': [width, width],
    'self_attn.k_proj': [keyValue, width],
    'self_attn.v_proj': [keyValue, width],
    'self_attn.o_proj': [width, width],
    'mlp.gate_proj': [feedForward, width],
    'mlp.up_proj': [feedForward, width],
    'mlp.down_proj': [width, feedForward],
  };
}

const size = (shape) => shape.reduce((product, length) => product * length, 1);
const sum = (values) => values.reduce((total, value) => total + value, 0);

/**
 * P and P_trained: the values of the matrices that tokens are multiplied with (linear modules and head), and how many of them, or of an
 * adapter's, get a gradient in a step. An embedding that is only looked up is no product; a tied one counts as the head.
 */
export function countedParameters(shape, method) {
  const matrices = blockMatrices(shape);
  const block = sum(Object.values(matrices).map(size));
  const head = shape.vocabulary * shape.width;
  const lora = (names) => sum(names.map((name) => RANK * sum(matrices[name])));
  const all = Object.keys(matrices);
  const active = Math.max(1, Math.floor(IST_SHARE * shape.blocks));
  const trained = {
    'lora-qv': shape.blocks * lora(['self_attn.q_proj', 'self_attn.v_proj']),
    'lora-all': shape.blocks * lora(all),
    full: shape.blocks * block + head,
    lisa: LISA_ACTIVE * block + head,
    ist: active * lora(all),
  };
  return { all: shape.blocks * block + head, trained: trained[method] };
}

/** FLOP of a step of T tokens: 2·P·T forward, 2·P·T backward to the activations, 2·P_trained·T to what trains. Attention is not counted. */
export function countedFlop(shape, method, tokens) {
  const { all, trained } = countedParameters(shape, method);
  return 2 * tokens * (2 * all + trained);
}

/** Bytes of the weights in the file, norms left out. */
export function weightBytes(shape, bytesPerValue) {
  const { all } = countedParameters(shape, 'full');
  return bytesPerValue * (all + (shape.tied ? 0 : shape.vocabulary * shape.width));
}

/** Many draws of N(0, deviation²) in bf16, to pick from: drawing a billion values afresh would take minutes. */
function normalTable(next, count, deviation) {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log((next() + 1) / 2 ** 32));
    const angle = (2 * Math.PI * next()) / 2 ** 32;
    values[i] = radius * Math.cos(angle);
    values[i + 1] = radius * Math.sin(angle);
  }
  return bfloat16FromFloat32(values);
}

/**
 * A Hugging Face folder of the shape with random weights in bf16, as transformers would initialise it. Made once, in the cache.
 * @returns its path
 */
export async function modelFolder(name, cache) {
  const shape = SHAPES[name];
  const folder = path.join(cache, `random-${name}`);
  if (existsSync(path.join(folder, 'config.json'))) return folder;
  mkdirSync(folder, { recursive: true });
  const next = randomIntegers(1);
  const table = normalTable(next, 1 << 16, 0.02);
  const matrix = (name, dimensions) => ({
    name,
    dtype: 'BF16',
    shape: dimensions,
    data: () => {
      const values = new Uint16Array(size(dimensions));
      for (let i = 0; i < values.length; i++) values[i] = table[next() >>> 16];
      return new Uint8Array(values.buffer);
    },
  });
  const norm = (name) => ({
    name,
    dtype: 'BF16',
    shape: [shape.width],
    data: new Uint8Array(new Uint16Array(shape.width).fill(0x3f80).buffer),
  });
  const tensors = [matrix('model.embed_tokens.weight', [shape.vocabulary, shape.width]), norm('model.norm.weight')];
  if (!shape.tied) tensors.push(matrix('lm_head.weight', [shape.vocabulary, shape.width]));
  for (let block = 0; block < shape.blocks; block++) {
    const prefix = `model.layers.${block}`;
    for (const [module, dimensions] of Object.entries(blockMatrices(shape))) {
      tensors.push(matrix(`${prefix}.${module}.weight`, dimensions));
    }
    tensors.push(norm(`${prefix}.input_layernorm.weight`), norm(`${prefix}.post_attention_layernorm.weight`));
  }
  await writeSafetensors(path.join(folder, 'model.safetensors'), tensors);
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: shape.vocabulary,
    hidden_size: shape.width,
    intermediate_size: shape.feedForward,
    num_hidden_layers: shape.blocks,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.keyValueHeads,
    head_dim: shape.width / shape.heads,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    max_position_embeddings: 2048,
    initializer_range: 0.02,
    tie_word_embeddings: shape.tied,
    bos_token_id: 1,
    eos_token_id: 2,
    dtype: 'bfloat16',
  };
  // Last, and by renaming: a folder with a config is complete.
  writeFileSync(path.join(folder, 'config.json.part'), JSON.stringify(config, undefined, 2));
  renameSync(path.join(folder, 'config.json.part'), path.join(folder, 'config.json'));
  return folder;
}
