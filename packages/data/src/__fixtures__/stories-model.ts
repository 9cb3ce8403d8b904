import { join } from 'node:path';
import type { ModelInfo } from '@lft/core';

/** The facts of stories260K, whose tokenizer lies beside. */
export const storiesModel: ModelInfo = {
  source: join(__dirname, 'stories260K'),
  architecture: 'LlamaForCausalLM',
  modelType: 'llama',
  vocabularySize: 512,
  width: 64,
  blocks: 5,
  contextLength: 512,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: undefined,
  fingerprint: 'stories260K',
};
