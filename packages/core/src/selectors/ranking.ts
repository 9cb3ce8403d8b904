import type { Importance } from '../contracts/importance.js';
import type { UnitId } from '../contracts/layer-unit.js';
import { LftError } from '../errors/lft-error.js';

/** Where a ranking is cut: the units that stay are those that train. Exactly one is given. */
export interface RankingCut {
  /** Share of the units that trains, the most important first: round(N · keep), at least one. */
  readonly keep?: number | undefined;
  /** Share of the units that is frozen, the least important first: floor(N · freeze). */
  readonly freeze?: number | undefined;
  /** Number of units that trains, the most important first. */
  readonly top?: number | undefined;
  /** Number of units that trains, the least important first: the control of an experiment. */
  readonly bottom?: number | undefined;
}

/** Ids from the most to the least important; equal scores keep the order of the map, which is forward order. */
export function rankUnits(importance: Pick<Importance, 'scores'>): UnitId[] {
  return [...importance.scores].sort(([, a], [, b]) => b - a).map(([id]) => id);
}

/**
 * The units that train when a ranking is cut.
 * @throws LftError selector-units when `top` or `bottom` is more than there are
 */
export function cutRanking(importance: Pick<Importance, 'scores'>, cut: RankingCut): UnitId[] {
  const ranked = rankUnits(importance);
  const count = ranked.length;
  const wanted = cut.top ?? cut.bottom;
  if (wanted !== undefined && wanted > count) {
    throw new LftError(
      'selector-units',
      `${wanted} units are to train, and the ranking has ${count}. Ask for at most ${count}, or for a share (keep: 0.5).`,
      { wanted, count },
    );
  }
  if (cut.top !== undefined) return ranked.slice(0, cut.top);
  if (cut.bottom !== undefined) return ranked.slice(count - cut.bottom);
  if (cut.keep !== undefined) return ranked.slice(0, Math.max(1, Math.round(count * cut.keep)));
  return ranked.slice(0, count - Math.floor(count * (cut.freeze ?? 0)));
}
