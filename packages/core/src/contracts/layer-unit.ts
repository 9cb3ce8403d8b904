import type { ModuleRole, ModuleSite } from './module-site.js';
import type { Parameter } from './parameter.js';

/**
 * Size of the groups that a selector switches: a decoder `block` (IST, LISA), a `module` (ILA) or a single parameter `matrix`. What
 * lies outside the blocks (embedding, final norm, head) is a unit of its own in every granularity.
 */
export type Granularity = 'block' | 'module' | 'matrix';

/** Hugging Face path of the block or module (`model.layers.3`, `model.layers.3.self_attn.q_proj`), or a parameter's name. */
export type UnitId = string;

/** The units that train in a step. */
export type UnitSet = ReadonlySet<UnitId>;

/** A group of trainable parameters under one gate. Only units with at least one parameter exist. */
export interface LayerUnit {
  readonly id: UnitId;
  /** Index of the decoder block it lies in; undefined outside the blocks. */
  readonly block: number | undefined;
  /** `block` for a whole block, else the role of its module. */
  readonly role: ModuleRole | 'block';
  readonly sites: readonly ModuleSite[];
  readonly parameters: readonly Parameter[];
  /** Number of trainable values. */
  readonly size: number;
}
