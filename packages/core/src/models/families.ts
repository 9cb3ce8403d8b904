import type { ModelInfo } from '../contracts/model-info.js';
import type { ModuleSite } from '../contracts/module-site.js';
import type { FrozenWeight } from '../weights/frozen-weight.js';
import type { CausalModel } from './causal-model.js';
import { Llama, llamaSites } from './llama.js';
import { parseLlamaConfig } from './llama-config.js';

/** What a family makes of a config.json. */
export interface FamilyDescription {
  readonly sites: readonly ModuleSite[];
  readonly info: Omit<ModelInfo, 'source' | 'fingerprint'>;
  build(info: ModelInfo, weights: Map<string, FrozenWeight>): CausalModel;
}

export interface Family {
  /** @throws LftError config-invalid */
  describe(config: unknown, file: string): FamilyDescription;
}

function first(ids: number | number[] | null | undefined): number | undefined {
  return (Array.isArray(ids) ? ids[0] : ids) ?? undefined;
}

const llama: Family = {
  describe(raw, file) {
    const config = parseLlamaConfig(raw, file);
    const eos = config.eos_token_id ?? [];
    return {
      sites: llamaSites(config),
      info: {
        architecture: 'LlamaForCausalLM',
        modelType: 'llama',
        vocabularySize: config.vocab_size,
        width: config.hidden_size,
        blocks: config.num_hidden_layers,
        contextLength: config.max_position_embeddings,
        bosTokenId: first(config.bos_token_id),
        eosTokenIds: Array.isArray(eos) ? eos : [eos],
        padTokenId: config.pad_token_id ?? undefined,
      },
      build: (info, weights) => new Llama(info, config, weights),
    };
  },
};

/** Families by `model_type`. A new family is a new file and a line here. */
export const FAMILIES: { readonly [modelType: string]: Family } = { llama };
