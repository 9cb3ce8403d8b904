import { bins } from './curve.js';
import type { Span } from './heat-map.js';
import type { RunRecord } from './run-record.js';
import type { UnitGroup } from './unit-table.js';

/** More columns than this are not seen, and many rows of many columns make a heavy page. */
const MOST_COLUMNS = 300;
const MOST_CELLS = 6000;

/** Level 0 is "not at all", the highest is "all of its units in every step of the column". */
export const ACTIVITY_LEVELS = 5;

/** When the units of each group trained, as runs of equal shade. @returns x in steps, from 0 to the number of steps */
export function activitySpans(steps: RunRecord['steps'], groups: readonly UnitGroup[]): Span[] {
  const columns = bins(steps.length, Math.min(MOST_COLUMNS, Math.max(100, Math.floor(MOST_CELLS / groups.length))));
  const rowOf = new Map(groups.flatMap(({ units }, row) => units.map((unit) => [unit.id, row] as const)));
  const shades = groups.map(() => new Uint8Array(columns.length));
  for (const [column, { from, to }] of columns.entries()) {
    const active = new Float64Array(groups.length);
    for (const step of steps.slice(from, to)) {
      for (const id of step.active) active[rowOf.get(id)!] = active[rowOf.get(id)!]! + 1;
    }
    for (const [row, { units }] of groups.entries()) {
      const share = active[row]! / ((to - from) * units.length);
      shades[row]![column] = share === 0 ? 0 : Math.max(1, Math.round(share * (ACTIVITY_LEVELS - 1)));
    }
  }
  return shades.flatMap((row, y) => {
    const spans: Span[] = [];
    for (const [column, level] of row.entries()) {
      const { from, to } = columns[column]!;
      const last = spans.at(-1);
      if (last && last.level === level) spans[spans.length - 1] = { ...last, to };
      else spans.push({ row: y, from, to, level });
    }
    return spans.filter(({ level }) => level > 0);
  });
}

/** Mean share of steps in which the units of a group trained. */
export function trainedShare(group: UnitGroup, steps: number): number {
  return group.units.reduce((sum, unit) => sum + unit.trained, 0) / (group.units.length * Math.max(1, steps));
}
