import type { RunRecord } from './run-record.js';
import { moduleColumns, placeUnits, type UnitPlace } from './unit-label.js';

/** One unit with everything that the run tells of it. */
export interface UnitRow extends UnitPlace {
  /** Number of trainable values. */
  readonly size: number;
  /** Number of steps in which it trained. */
  readonly trained: number;
  /** Final score, when the selector ranks. */
  readonly score: number | undefined;
}

/** A row of a picture: one unit, or the units of one block together. */
export interface UnitGroup {
  readonly label: string;
  readonly units: readonly UnitRow[];
}

/** Every unit of the run in forward order; those that only the metrics or the scores know come last. */
export function unitRows(run: RunRecord): UnitRow[] {
  const trained = new Map<string, number>();
  for (const { active } of run.steps) for (const id of active) trained.set(id, (trained.get(id) ?? 0) + 1);
  const scores = run.ranking?.scores;
  const known = new Map(run.config.units.map((unit) => [unit.id, unit]));
  const places = placeUnits([...known.keys(), ...trained.keys(), ...(scores?.keys() ?? [])]);
  return [...places.values()].map((place) => ({
    ...place,
    block: known.get(place.id)?.block ?? place.block,
    size: known.get(place.id)?.size ?? 0,
    trained: trained.get(place.id) ?? 0,
    score: scores?.get(place.id),
  }));
}

/** Rows of more than this are not readable: modules are then shown by their blocks. */
const MOST_ROWS = 40;

/** The rows of a picture over time: a unit a row while there are few, else a block a row. */
export function groupUnits(units: readonly UnitRow[]): UnitGroup[] {
  if (units.length <= MOST_ROWS || moduleColumns(units).length === 0) {
    return units.map((unit) => ({ label: unit.label, units: [unit] }));
  }
  const groups = new Map<string, UnitRow[]>();
  for (const unit of units) {
    const label = unit.block === undefined ? unit.label : `block ${unit.block}`;
    groups.set(label, [...(groups.get(label) ?? []), unit]);
  }
  return [...groups].map(([label, members]) => ({ label, units: members }));
}

/** True when the pictures over time show blocks of several units. */
export function isGrouped(groups: readonly UnitGroup[]): boolean {
  return groups.some(({ units }) => units.length > 1);
}
