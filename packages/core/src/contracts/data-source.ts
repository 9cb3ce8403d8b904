import type { Json } from './json.js';
import type { ModelInfo } from './model-info.js';

/** The label of a token that is not learned. */
export const IGNORED_LABEL = -100;

/** One row of training data. */
export interface Example {
  /** Token ids. */
  readonly ids: Int32Array;
  /** The same ids, or IGNORED_LABEL where the token is not learned. Not shifted: label t belongs to token t. */
  readonly labels: Int32Array;
  /**
   * Index of the document that each token belongs to, when several are packed into one row: tokens see only their own document, and
   * positions start again with it.
   */
  readonly segments?: Int32Array;
}

/** What a {@link DataSource} makes for one model. */
export interface Dataset {
  readonly train: readonly Example[];
  /** Held out; may be empty. */
  readonly validation: readonly Example[];
  /** Hash of the text, the tokenizer and the options. */
  readonly fingerprint: string;
  /** One line for people: `2,000 rows of alpaca.jsonl, template alpaca`. */
  readonly description: string;
}

/** Where examples come from: made by @lft/data, or by anything else with this shape. */
export interface DataSource {
  readonly options: Json;
  /**
   * @param model the model's facts; `source` is its folder, where the tokenizer lies
   * @param maxLength longest row in tokens
   * @param seed for shuffles and splits
   */
  prepare(request: { model: ModelInfo; maxLength: number; seed: number }): Promise<Dataset>;
}
