import { chartFigure, scaleLegend } from './figure.js';
import { heatMap, heatMapHeight, type Span } from './heat-map.js';
import type { Html } from './html.js';
import { moduleColumns } from './unit-label.js';
import type { UnitRow } from './unit-table.js';

/** Shades of the scale --imp. */
const LEVELS = 9;
export const SCORE_COLORS = Array.from({ length: LEVELS }, (_, i) => `var(--imp${i})`);

/** The shade of a value between the ends of the scale. */
export function scoreLevel(value: number, [low, high]: readonly [number, number]): number {
  if (high <= low) return LEVELS >> 1;
  return Math.max(0, Math.min(LEVELS - 1, Math.floor(((value - low) / (high - low)) * LEVELS)));
}

export function scoreDomain(values: readonly number[]): readonly [number, number] {
  return values.reduce<[number, number]>(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  );
}

export interface ModuleMap {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly units: readonly UnitRow[];
  readonly value: (unit: UnitRow) => number | undefined;
  readonly format: (value: number) => string;
  readonly domain: readonly [number, number];
}

/** The model as a picture: blocks from the top, modules side by side; what lies outside the blocks fills its row. */
export function moduleMap({ id, title, caption, units, value, format, domain }: ModuleMap): Html {
  const columns = moduleColumns(units);
  const rows: string[] = [];
  const spans: Span[] = [];
  for (const unit of units) {
    const label = unit.module === undefined ? unit.label : `block ${unit.block}`;
    if (!rows.includes(label)) rows.push(label);
    const score = value(unit);
    if (score === undefined) continue;
    const column = unit.module === undefined ? undefined : columns.indexOf(unit.module);
    spans.push({
      row: rows.indexOf(label),
      from: column ?? 0,
      to: column === undefined ? columns.length : column + 1,
      level: scoreLevel(score, domain),
      text: format(score),
    });
  }
  return chartFigure({
    id,
    title,
    caption,
    legend: scaleLegend(format(domain[0]), SCORE_COLORS, format(domain[1])),
    height: heatMapHeight(rows.length, { bars: false, name: false }),
    option: (width) => heatMap({ rows, spans, scale: 'imp', width, x: { columns, name: '' } }),
  });
}
