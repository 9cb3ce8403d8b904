import type { Importance } from '../contracts/importance.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import type { UnitId } from '../contracts/layer-unit.js';
import { LftError } from '../errors/lft-error.js';
import { chosenOnce } from './chosen-once.js';
import { readImportance } from './importance-file.js';
import { listed, requireUnits } from './known-units.js';
import { rankUnits } from './ranking.js';

/**
 * Freezes only what several rankings (of several data sets) agree is unimportant: B = ∩_d bottomK_d; all other units train. When
 * they agree on nothing, the K units of the lowest mean rank are frozen instead, and `options.agreed` is false.
 * @param rankings importance files, or rankings at hand; of one granularity and over the same units
 * @param options.least K: a number of units, or a share in (0, 1) of which floor(N · share) counts
 */
export function intersect(
  rankings: readonly (string | Importance)[],
  options: { readonly least: number },
): LayerSelector {
  const { least } = options;
  const read = rankings.map((ranking) => (typeof ranking === 'string' ? readImportance(ranking) : ranking));
  const first = read[0];
  if (!first || read.length < 2) {
    throw new LftError('selector-options', `intersect: ${read.length} rankings; it needs two or more.`, {
      rankings: read.length,
    });
  }
  for (const [index, ranking] of read.entries()) requireComparable(first, ranking, index);

  const count = first.scores.size;
  const frozenCount = least > 0 && least < 1 ? Math.floor(count * least) : least;
  if (!Number.isInteger(frozenCount) || frozenCount < 1 || frozenCount >= count) {
    throw new LftError(
      'selector-options',
      `intersect: least is ${least}; of ${count} units it must be a count from 1 to ${count - 1}, or a share in (0, 1) that makes one.`,
      { least, count },
    );
  }

  const ranked = read.map((ranking) => rankUnits(ranking));
  const bottoms = ranked.map((ids) => new Set(ids.slice(count - frozenCount)));
  // −(mean rank): higher matters more, whatever the scales of the scores.
  const ranks = ranked.map((ids) => new Map(ids.map((id, index) => [id, index + 1])));
  const scores = new Map<UnitId, number>();
  for (const id of first.scores.keys()) scores.set(id, -ranks.reduce((sum, of) => sum + of.get(id)!, 0) / ranks.length);

  const common = [...first.scores.keys()].filter((id) => bottoms.every((bottom) => bottom.has(id)));
  const agreed = common.length > 0;
  const frozen = new Set(agreed ? common : rankUnits({ scores }).slice(count - frozenCount));

  return chosenOnce({
    name: 'intersect',
    options: { least, rankings: read.map((ranking) => ranking.method), agreed, frozen: [...frozen] },
    granularity: first.granularity,
    importance: { method: 'intersect', granularity: first.granularity, scores },
    choose(context) {
      requireUnits(
        'intersect',
        scores.keys(),
        context.units,
        'Rank and train with the same model and the same targets.',
      );
      return context.units.filter((unit) => !frozen.has(unit.id)).map((unit) => unit.id);
    },
  });
}

function requireComparable(first: Importance, other: Importance, index: number): void {
  if (other.granularity !== first.granularity) {
    throw new LftError(
      'selector-options',
      `intersect: ranking 0 is of granularity ${first.granularity}, ranking ${index} of ${other.granularity}. Aggregate them to blocks first.`,
      { index },
    );
  }
  const strays = [...first.scores.keys()]
    .filter((id) => !other.scores.has(id))
    .concat([...other.scores.keys()].filter((id) => !first.scores.has(id)));
  if (strays.length === 0) return;
  throw new LftError(
    'selector-options',
    `intersect: rankings 0 and ${index} do not rank the same units: ${listed(strays, 4)}. Rank with the same model and the same targets.`,
    { index, strays },
  );
}
