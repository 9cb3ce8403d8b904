import type { Output } from './output.js';
import { bar, table } from './tables.js';

export interface RankedUnit {
  readonly id: string;
  readonly score: number;
}

/** By score, the highest first; equal scores in the order given. */
export function ranked(scores: Iterable<readonly [string, number]>): RankedUnit[] {
  return [...scores].map(([id, score]) => ({ id, score })).sort((a, b) => b.score - a.score);
}

/** The ranking as a table with a bar a unit. Bars begin at 0, or at the lowest score where some are negative or all are close together. */
export function rankingTable(units: readonly RankedUnit[], output: Output, most = units.length): string {
  const shown = units.slice(0, most);
  const scores = units.map(({ score }) => score);
  const [lowest, highest] = [Math.min(...scores), Math.max(...scores)];
  const fromZero = lowest >= 0 && lowest < 0.9 * highest;
  const low = fromZero ? 0 : lowest;
  const span = highest - low || 1;
  const digits = scoreDigits(scores);
  const texts = shown.map(({ score }) => score.toFixed(digits).replace('-', '−'));
  const widest = (list: readonly string[]) => Math.max(...list.map((text) => text.length), 5);
  const room = output.columns - 2 - 4 - widest(shown.map(({ id }) => id)) - widest(texts) - 6;
  const barWidth = Math.max(6, Math.min(30, room));
  const rows = shown.map(({ id, score }, i) => [
    String(i + 1),
    id,
    texts[i]!,
    output.color.cyan(bar((score - low) / span, barWidth)),
  ]);
  const left = units.length - shown.length;
  return [
    table(
      [
        { title: 'rank', align: 'right' },
        { title: 'unit' },
        { title: 'score', align: 'right' },
        { title: fromZero ? '' : 'above the lowest' },
      ],
      rows,
      output,
    ),
    ...(left > 0 ? [output.color.dim(`        and ${left} more`)] : []),
  ].join('\n');
}

/** As many decimals as tell neighbours apart, at least three. */
function scoreDigits(scores: readonly number[]): number {
  const spread = Math.max(...scores) - Math.min(...scores) || Math.abs(scores[0] ?? 1) || 1;
  return Math.max(3, Math.min(10, 3 - Math.floor(Math.log10(spread))));
}
