import { readFileSync } from 'node:fs';
import path from 'node:path';
import { BIASED, TIED, UNTIED } from '../__testing__/model-folder.js';
import { parseLlamaConfig } from './llama-config.js';
import { inverseFrequencies } from './rope.js';

const read = (folder: string, file: string) =>
  JSON.parse(readFileSync(path.join(folder, file), 'utf8')) as Record<string, unknown>;
const parse = (config: unknown) => parseLlamaConfig(config, 'm/config.json');

const FIELDS = [
  'vocab_size',
  'hidden_size',
  'intermediate_size',
  'num_hidden_layers',
  'num_attention_heads',
  'num_key_value_heads',
  'head_dim',
  'rms_norm_eps',
  'max_position_embeddings',
  'attention_bias',
  'mlp_bias',
  'tie_word_embeddings',
  'bos_token_id',
  'eos_token_id',
  'pad_token_id',
] as const;

test.each([TIED, UNTIED, BIASED])('the configs of transformers 4 and 5 say the same: %s', (folder) => {
  const [now, before] = [parse(read(folder, 'config.json')), parse(read(folder, 'config.v4.json'))];
  for (const field of FIELDS) expect(before[field]).toEqual(now[field]);
  expect(inverseFrequencies(before, before.head_dim, '')).toEqual(inverseFrequencies(now, now.head_dim, ''));
});

test('what is left out has the default of transformers', () => {
  const { vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads } = read(TIED, 'config.json');
  const config = parse({ vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads });
  expect(config).toMatchObject({
    num_key_value_heads: num_attention_heads,
    head_dim: 8,
    rms_norm_eps: 1e-6,
    max_position_embeddings: 2048,
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: false,
  });
});

test.each<[string, Record<string, unknown>, RegExp]>([
  ['a field of the wrong type', { hidden_size: 'wide' }, /m\/config\.json does not describe a Llama: hidden_size: /],
  ['a field that is not positive', { num_hidden_layers: 0 }, /num_hidden_layers: /],
  ['a missing field', { vocab_size: undefined }, /vocab_size: /],
  ['an unknown activation', { hidden_act: 'gelu' }, /hidden_act "gelu" is not known for a Llama; there is silu/],
  ['key-value heads that do not divide', { num_key_value_heads: 3 }, /num_key_value_heads 3 does not divide num_attention_heads 4/],
  ['an odd head width', { head_dim: 7 }, /must be even, and is 7/],
  ['a width that the heads do not divide', { head_dim: null, hidden_size: 34 }, /must be even, and is 8\.5: set head_dim/],
])('%s is an error that names it', (_, change, message) => {
  const config = { ...read(TIED, 'config.json'), ...change };
  expect(() => parse(config)).toThrow(message);
  expect(() => parse(config)).toThrow(expect.objectContaining({ code: 'config-invalid' }));
});
