/** What a module does in its block, under the name that Llama-like Hugging Face models give it. */
export type ModuleRole =
  | 'q'
  | 'k'
  | 'v'
  | 'o'
  | 'gate'
  | 'up'
  | 'down'
  | 'embed'
  | 'head'
  | 'norm'
  | 'attn_out'
  | 'mlp_out';

/**
 * How the module computes:
 * - `linear`    y = x·Wᵀ + b, x [N, in], W [out, in]
 * - `embedding` y = W[ids], ids [N] int32, W [in = vocabulary, out = width]
 * - `norm`      scales its input by W [in]
 * - `sublayer`  no weight of its own: the output of attention or of the MLP, before it is added to the residual
 */
export type ModuleKind = 'linear' | 'embedding' | 'norm' | 'sublayer';

/** A place in a model where something can be trained. Made by the model, handed to {@link Adapter.attach}. */
export interface ModuleSite {
  /** Hugging Face module path, e.g. `model.layers.3.self_attn.q_proj`. Unique in the model. */
  readonly path: string;
  /** Index of the decoder block, or undefined for the embedding, the final norm and the head. */
  readonly block: number | undefined;
  readonly role: ModuleRole;
  readonly kind: ModuleKind;
  readonly in: number;
  readonly out: number;
  /** True when the module has a bias [out]. */
  readonly bias: boolean;
  /** Path of the site whose weight this one shares (a tied head: `model.embed_tokens`). */
  readonly tiedTo?: string;
}
