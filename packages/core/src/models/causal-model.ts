import type * as tf from '@tensorflow/tfjs-core';
import type { ModelInfo } from '../contracts/model-info.js';
import type { ModuleSite } from '../contracts/module-site.js';
import type { CausalMask } from '../ops/causal-mask.js';
import type { FrozenWeight } from '../weights/frozen-weight.js';

/** Where the rows of a batch stand: angles of the rotary embedding and who sees whom. Shared by all blocks of a pass; dispose it after. */
export interface SequenceGeometry {
  readonly batch: number;
  /** New positions per row. */
  readonly length: number;
  /** [batch × length, 1, head width] */
  readonly cos: tf.Tensor3D;
  readonly sin: tf.Tensor3D;
  readonly mask: CausalMask;
  dispose(): void;
}

export interface GeometryRequest {
  readonly batch: number;
  readonly length: number;
  /** Document index of every token when rows are packed, [batch × length]; positions start again with each. */
  readonly segments?: Int32Array;
  /** Positions already in the cache. */
  readonly past?: number;
}

/** Keys and values of the positions seen so far, one entry a block, for generation. */
export interface KeyValueCache {
  readonly length: number;
  /** The block's keys and values [B, T, K, D]. */
  entry(block: number): { k: tf.Tensor4D; v: tf.Tensor4D } | undefined;
  /** Keeps these in their place: the same with more behind them. */
  replace(block: number, entry: { k: tf.Tensor4D; v: tf.Tensor4D }): void;
  /** Appends [B, T, K, D] to the block's keys and values and gives all of them. */
  append(block: number, k: tf.Tensor4D, v: tf.Tensor4D): { k: tf.Tensor4D; v: tf.Tensor4D };
}

/** What a block computes its modules with: the frozen weights alone, or with an adapter's deltas. */
export interface ModuleForward {
  /** x [N, in] to [N, out] */
  linear(path: string, x: tf.Tensor2D): tf.Tensor2D;
  /** ids [N] int32 to [N, width] */
  embedding(path: string, ids: tf.Tensor1D): tf.Tensor2D;
  /** The norm's scale [width]. */
  scale(path: string): tf.Tensor1D;
  /** The site's frozen weight and bias, where nothing else acts at the site: undefined where an adapter does. */
  frozen(path: string): { readonly weight: FrozenWeight | undefined; readonly bias: FrozenWeight | undefined } | undefined;
  /** The output of attention or of the MLP [N, width], before it is added to the residual. */
  sublayer(path: string, x: tf.Tensor2D): tf.Tensor2D;
}

/** A decoder-only language model with frozen weights. One file a family; shapes: N = batch × length tokens, D = width. */
export interface CausalModel {
  readonly info: ModelInfo;
  /** Every module in forward order. */
  readonly sites: readonly ModuleSite[];
  /** Path of the site whose weight makes the logits. */
  readonly head: string;
  /** The frozen weight or bias of a site, or undefined where it has none. A tied head gives the embedding's. */
  weight(path: string, tensor: 'weight' | 'bias'): FrozenWeight | undefined;
  geometry(request: GeometryRequest): SequenceGeometry;
  /** ids [N] int32 to [N, D] */
  embed(ids: tf.Tensor1D, modules: ModuleForward): tf.Tensor2D;
  /** x [N, D] to [N, D] */
  block(index: number, x: tf.Tensor2D, geometry: SequenceGeometry, modules: ModuleForward, cache?: KeyValueCache): tf.Tensor2D;
  /** The final norm: x [N, D] to [N, D] */
  norm(x: tf.Tensor2D, modules: ModuleForward): tf.Tensor2D;
  /** Rough bytes of one block's activations per token, for the choice of recomputing. */
  readonly activationBytesPerToken: number;
  /** Lets go of the frozen weights; the model cannot be used after. */
  dispose(): Promise<void>;
}
