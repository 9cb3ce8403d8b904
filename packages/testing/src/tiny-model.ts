import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { bfloat16FromFloat32, keyedRandom, type SafetensorsInput, writeSafetensors } from '@lft/core';

export interface TinyModelOptions {
  /** Decoder blocks. Default 2. */
  readonly blocks?: number;
  /** D, a multiple of 4. Default 16. */
  readonly width?: number;
  /** F. Default 24. */
  readonly inner?: number;
  /** V. Default 32. */
  readonly vocabulary?: number;
  /** H; half as many key and value heads. Default 2. */
  readonly heads?: number;
  /** Longest sequence. Default 64. */
  readonly contextLength?: number;
  /** The head shares the embedding's weight. Default false. */
  readonly tied?: boolean;
  /** Biases at the linear modules of the blocks. Default false. */
  readonly bias?: boolean;
  /** How the file holds the weights. Default F32. */
  readonly dtype?: 'F32' | 'BF16';
  readonly seed?: number;
}

export interface TinyModel {
  readonly folder: string;
  dispose(): Promise<void>;
}

/**
 * Writes a small random Llama as a Hugging Face folder, into a temporary folder: config.json and model.safetensors, no tokenizer. The
 * same options give the same bytes.
 */
export async function tinyModel(options: TinyModelOptions = {}): Promise<TinyModel> {
  const { blocks = 2, width = 16, inner = 24, vocabulary = 32, heads = 2, contextLength = 64 } = options;
  const { tied = false, bias = false, dtype = 'F32', seed = 0 } = options;
  const kvHeads = Math.max(1, heads / 2);
  const headWidth = width / heads;
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: inner,
    num_hidden_layers: blocks,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    max_position_embeddings: contextLength,
    attention_bias: bias,
    mlp_bias: bias,
    tie_word_embeddings: tied,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
    torch_dtype: dtype === 'F32' ? 'float32' : 'bfloat16',
  };

  const tensors: SafetensorsInput[] = [];
  const add = (name: string, shape: readonly number[], draw: (normal: number) => number) => {
    const random = keyedRandom(seed, 'tiny-model', name);
    const size = shape.reduce((product, length) => product * length, 1);
    const values = Float32Array.from({ length: size }, () => draw(random.normal()));
    const packed = dtype === 'F32' ? values : bfloat16FromFloat32(values);
    tensors.push({ name, dtype, shape, data: new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength) });
  };
  const linear = (name: string, out: number, from: number) => {
    add(`${name}.weight`, [out, from], (normal) => normal / Math.sqrt(from));
    if (bias && name !== 'lm_head') add(`${name}.bias`, [out], (normal) => 0.1 * normal);
  };
  const norm = (name: string) => add(`${name}.weight`, [width], (normal) => 1 + 0.1 * normal);

  add('model.embed_tokens.weight', [vocabulary, width], (normal) => 0.5 * normal);
  for (let block = 0; block < blocks; block++) {
    const name = `model.layers.${block}`;
    norm(`${name}.input_layernorm`);
    linear(`${name}.self_attn.q_proj`, heads * headWidth, width);
    linear(`${name}.self_attn.k_proj`, kvHeads * headWidth, width);
    linear(`${name}.self_attn.v_proj`, kvHeads * headWidth, width);
    linear(`${name}.self_attn.o_proj`, width, heads * headWidth);
    norm(`${name}.post_attention_layernorm`);
    linear(`${name}.mlp.gate_proj`, inner, width);
    linear(`${name}.mlp.up_proj`, inner, width);
    linear(`${name}.mlp.down_proj`, width, inner);
  }
  norm('model.norm');
  if (!tied) linear('lm_head', vocabulary, width);

  const folder = await mkdtemp(path.join(tmpdir(), 'lft-tiny-model-'));
  await writeFile(path.join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  await writeSafetensors(path.join(folder, 'model.safetensors'), tensors);
  return { folder, dispose: () => rm(folder, { recursive: true, force: true }) };
}
