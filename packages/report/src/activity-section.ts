import { ACTIVITY_LEVELS, activitySpans, trainedShare } from './activity.js';
import { chartFigure, scaleLegend } from './figure.js';
import { heatMap, heatMapHeight } from './heat-map.js';
import { type Html, html } from './html.js';
import { moduleMap } from './module-map.js';
import { formatShare } from './number-format.js';
import type { RunRecord } from './run-record.js';
import { groupUnits, isGrouped, type UnitRow } from './unit-table.js';

/** Which unit trained when, and how often. */
export function activitySection({ steps }: RunRecord, units: readonly UnitRow[]): Html | undefined {
  if (steps.length === 0 || units.length === 0) return undefined;
  if (units.every(({ trained }) => trained === steps.length)) {
    return html`<h2>What trained when</h2>
<p>Every unit (${units.length}) trained in every step.</p>`;
  }
  const groups = groupUnits(units);
  const grouped = isGrouped(groups);
  const colors = Array.from({ length: ACTIVITY_LEVELS - 1 }, (_, i) => `var(--act${i + 1})`);
  const spans = activitySpans(steps, groups);
  const shades = spans.some(({ level }) => level < ACTIVITY_LEVELS - 1);
  return html`<h2>What trained when</h2>
${chartFigure({
  id: 'activity',
  title: grouped ? 'Blocks that trained, step by step' : 'Units that trained, step by step',
  caption: `${grouped ? 'A row is a block: the shade tells how many of its modules trained.' : 'Coloured where the unit trained, in the order of the forward pass.'} The bars give the share of all steps.`,
  legend: shades
    ? scaleLegend(
        'never',
        ['var(--track)', ...colors],
        grouped ? 'all of it, in every step' : 'in every step of the column',
      )
    : scaleLegend('off', ['var(--track)', colors.at(-1)!], 'trained'),
  height: heatMapHeight(groups.length, { bars: true, name: true }),
  option: (width) =>
    heatMap({
      rows: groups.map(({ label }) => label),
      spans,
      scale: 'act',
      width,
      x: { steps: steps.length },
      bars: {
        name: 'share of steps',
        values: groups.map((group) => trainedShare(group, steps.length)),
        format: shortShare,
      },
    }),
})}${
  grouped
    ? moduleMap({
        id: 'trained',
        title: 'How often each module trained',
        caption: 'Share of all steps.',
        units,
        value: ({ trained }) => trained / steps.length,
        format: shortShare,
        domain: [0, 1],
      })
    : ''
}`;
}

/** Whole percents are enough beside a bar. */
function shortShare(share: number): string {
  return share > 0 && share < 0.01 ? '< 1 %' : formatShare(Math.round(share * 100) / 100);
}
