import { z } from 'zod';
import { LftError } from '../errors/lft-error.js';
import { ropeConfigShape } from './rope.js';

const tokenIds = z.union([z.number().int(), z.array(z.number().int())]).nullish();

const schema = z.looseObject({
  vocab_size: z.number().int().positive(),
  hidden_size: z.number().int().positive(),
  intermediate_size: z.number().int().positive(),
  num_hidden_layers: z.number().int().positive(),
  num_attention_heads: z.number().int().positive(),
  num_key_value_heads: z.number().int().positive().nullish(),
  head_dim: z.number().int().positive().nullish(),
  hidden_act: z.string().default('silu'),
  rms_norm_eps: z.number().positive().default(1e-6),
  max_position_embeddings: z.number().int().positive().default(2048),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: tokenIds,
  eos_token_id: tokenIds,
  pad_token_id: z.number().int().nullish(),
  ...ropeConfigShape,
});

/** What `config.json` says of a Llama, with the defaults of transformers filled in. */
export type LlamaConfig = z.infer<typeof schema> & { readonly num_key_value_heads: number; readonly head_dim: number };

/** @throws LftError config-invalid naming the field */
export function parseLlamaConfig(raw: unknown, file: string): LlamaConfig {
  const result = schema.safeParse(raw);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
    throw new LftError('config-invalid', `${file} does not describe a Llama: ${problems}`, { file });
  }
  const config = result.data;
  const heads = config.num_attention_heads;
  const kvHeads = config.num_key_value_heads ?? heads;
  const headWidth = config.head_dim ?? config.hidden_size / heads;
  const invalid = (problem: string) => new LftError('config-invalid', `${file}: ${problem}`, { file });
  if (config.hidden_act !== 'silu') throw invalid(`hidden_act "${config.hidden_act}" is not known for a Llama; there is silu`);
  if (heads % kvHeads !== 0) throw invalid(`num_key_value_heads ${kvHeads} does not divide num_attention_heads ${heads}`);
  if (!Number.isInteger(headWidth) || headWidth % 2 !== 0) {
    throw invalid(`the width of a head must be even, and is ${headWidth}: set head_dim, or a hidden_size that ${heads} heads divide`);
  }
  return { ...config, num_key_value_heads: kvHeads, head_dim: headWidth };
}
