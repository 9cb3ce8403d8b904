import { rankingBars, rankingHeight } from './bar-chart.js';
import { chartFigure, scaleLegend } from './figure.js';
import { heatMap, heatMapHeight, type Span } from './heat-map.js';
import { type Html, html } from './html.js';
import { moduleMap, SCORE_COLORS, scoreDomain, scoreLevel } from './module-map.js';
import { formatCount, formatNumber, formatShare } from './number-format.js';
import type { ImportanceRecord, RunRecord } from './run-record.js';
import { moduleColumns } from './unit-label.js';
import { groupUnits, isGrouped, type UnitGroup, type UnitRow } from './unit-table.js';

const MOST_ROUNDS = 48;
const MOST_BARS = 40;
const TOP_BARS = 20;
/** A longer table is folded. */
const SHORT_TABLE = 12;

type Scored = UnitRow & { readonly score: number };

/** How important each unit is: over the rounds, and at the end. Nothing for a selector without scores. */
export function importanceSection(run: RunRecord, units: readonly UnitRow[]): Html | undefined {
  if (!run.ranking) return undefined;
  const ranked = units.filter((unit): unit is Scored => unit.score !== undefined).sort((a, b) => b.score - a.score);
  const groups = groupUnits(units.filter(({ score }) => score !== undefined));
  const rounds = pick(run.importance, MOST_ROUNDS);
  return html`<h2>Which layers matter</h2>
<p class="small">Scores of ${run.ranking.method}; a higher score matters more.</p>
${rounds.length > 1 ? roundsFigure(rounds, groups, run.importance.length) : ''}${
  moduleColumns(ranked).length > 1
    ? moduleMap({
        id: 'modules',
        title: 'Importance at the end, module by module',
        caption: 'Rows are blocks in the order of the forward pass, columns the modules of a block.',
        units: units.filter(({ score }) => score !== undefined),
        value: ({ score }) => score,
        format: formatNumber,
        domain: scoreDomain(ranked.map(({ score }) => score)),
      })
    : ''
}${rankingFigure(ranked)}${rankingTable(ranked, run.steps.length)}`;
}

function roundsFigure(rounds: readonly ImportanceRecord[], groups: readonly UnitGroup[], all: number): Html {
  const cells = rounds.flatMap(({ scores }, column) =>
    groups.flatMap(({ units }, row) => {
      const values = units.map(({ id }) => scores[id]).filter((score) => typeof score === 'number');
      if (values.length === 0) return [];
      return [{ column, row, value: values.reduce((sum, value) => sum + value, 0) / values.length }];
    }),
  );
  const domain = scoreDomain(cells.map(({ value }) => value));
  const spans = cells.map(
    ({ column, row, value }): Span => ({ row, from: column, to: column + 1, level: scoreLevel(value, domain) }),
  );
  return chartFigure({
    id: 'importance',
    title: 'Importance as it changed',
    caption: `A column is a change of the scores${rounds.length < all ? ` (${rounds.length} of ${all} are shown)` : ''}.${
      isGrouped(groups) ? ' A row is the mean over the modules of a block.' : ''
    }`,
    legend: scaleLegend(formatNumber(domain[0]), SCORE_COLORS, formatNumber(domain[1])),
    height: heatMapHeight(groups.length, { bars: false, name: true }),
    option: (width) =>
      heatMap({
        rows: groups.map(({ label }) => label),
        spans,
        scale: 'imp',
        width,
        x: { columns: rounds.map(({ step }) => step.toLocaleString('en-US')), name: 'step of the change' },
      }),
  });
}

function rankingFigure(ranked: readonly Scored[]): Html {
  const shown = ranked.length <= MOST_BARS ? ranked : ranked.slice(0, TOP_BARS);
  return chartFigure({
    id: 'ranking',
    title:
      shown.length < ranked.length ? `The ${shown.length} most important of ${ranked.length} units` : 'Final ranking',
    caption: shown.length < ranked.length ? 'The others are in the table.' : 'Most important first.',
    height: rankingHeight(shown.length),
    option: (width) =>
      rankingBars(
        shown.map(({ label, score }) => ({ label, value: score })),
        width,
        formatNumber,
      ),
  });
}

function rankingTable(ranked: readonly Scored[], steps: number): Html {
  return html`<details class="card"${ranked.length <= SHORT_TABLE ? ' open' : ''}><summary>Ranking as a table</summary><div class="scroll"><table>
<thead><tr><th scope="col" class="num">rank</th><th scope="col">unit</th><th scope="col" class="num">score</th><th scope="col" class="num">parameters</th><th scope="col" class="num">trained in</th><th scope="col">name in the model</th></tr></thead>
<tbody>${ranked.map(
    (
      { id, label, score, size, trained },
      index,
    ) => html`<tr><td class="num">${index + 1}</td><th scope="row">${label}</th><td class="num">${formatNumber(score)}</td><td class="num">${formatCount(size)}</td><td class="num">${
      steps > 0 ? `${trained.toLocaleString('en-US')} steps, ${formatShare(trained / steps)}` : '–'
    }</td><td><code>${id}</code></td></tr>
`,
  )}</tbody></table></div></details>`;
}

/** At most `limit` of the items, evenly spread, the first and the last among them. */
function pick<Item>(items: readonly Item[], limit: number): readonly Item[] {
  if (items.length <= limit) return items;
  return Array.from({ length: limit }, (_, i) => items[Math.round((i * (items.length - 1)) / (limit - 1))]!);
}
