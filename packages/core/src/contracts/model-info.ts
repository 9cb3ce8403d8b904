/** What is known of a loaded model without its weights. */
export interface ModelInfo {
  /** Where it was read from, as given. Becomes PEFT's `base_model_name_or_path`. */
  readonly source: string;
  /** E.g. `LlamaForCausalLM`. */
  readonly architecture: string;
  /** E.g. `llama`. */
  readonly modelType: string;
  readonly vocabularySize: number;
  readonly width: number;
  readonly blocks: number;
  /** Longest sequence the position encoding was made for. */
  readonly contextLength: number;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | undefined;
  /** Tells this model from another: a hash of the shape and of the first values of every weight. */
  readonly fingerprint: string;
}
