import type { Granularity, UnitId } from './layer-unit.js';

/** A score per unit; a higher score matters more. */
export interface Importance {
  /** E.g. `ist`, `ila`. */
  readonly method: string;
  readonly granularity: Granularity;
  readonly scores: ReadonlyMap<UnitId, number>;
}
