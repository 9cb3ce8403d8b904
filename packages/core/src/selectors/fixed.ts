import { z } from 'zod';
import type { Json } from '../contracts/json.js';
import type { LayerSelector, SelectorContext } from '../contracts/layer-selector.js';
import type { LayerUnit, UnitId } from '../contracts/layer-unit.js';
import type { SelectorPlugin } from '../contracts/plugin.js';
import { LftError } from '../errors/lft-error.js';
import { parseOptions } from '../errors/parse-options.js';
import { keyedRandom } from '../random/keyed-random.js';
import { chosenOnce } from './chosen-once.js';
import { readImportance } from './importance-file.js';
import { requireUnits } from './known-units.js';
import { cutRanking } from './ranking.js';

const CHOICES = ['train', 'first', 'last', 'random', 'units', 'importance'] as const;
const CUTS = ['keep', 'freeze', 'top', 'bottom'] as const;

export const fixedOptions = z
  .object({
    train: z.enum(['all', 'none']).optional().describe('all: every unit; none: no unit, to evaluate only'),
    first: z.int().positive().optional().describe('The first k units of the blocks, in forward order'),
    last: z.int().positive().optional().describe('The last k units of the blocks'),
    random: z.int().positive().optional().describe('k units of the blocks, drawn once'),
    seed: z.int().optional().describe('Seed of `random`; without it the seed of the run'),
    units: z.array(z.string()).min(1).optional().describe('Exactly these units, by id'),
    importance: z.string().optional().describe('Path of an importance.json; with one of keep, freeze, top, bottom'),
    keep: z.number().positive().max(1).optional().describe('Share of the ranked units that trains'),
    freeze: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe('Share of the ranked units, the least important, that is frozen'),
    top: z.int().positive().optional().describe('Number of most important units that trains'),
    bottom: z.int().positive().optional().describe('Number of least important units that trains (a control)'),
    granularity: z
      .enum(['block', 'module', 'matrix'])
      .optional()
      .describe("Size of a unit: block, or the importance file's"),
    outside: z
      .enum(['train', 'freeze'])
      .optional()
      .describe('Embedding, final norm and head, where they are trainable: train, unless the units are listed'),
  })
  .superRefine((options, context) => {
    const problem = (message: string) => context.addIssue({ code: 'custom', message });
    const chosen = CHOICES.filter((key) => options[key] !== undefined);
    const cuts = CUTS.filter((key) => options[key] !== undefined);
    if (chosen.length > 1) problem(`${chosen.join(' and ')} exclude each other: give one of ${CHOICES.join(', ')}`);
    if (options.importance !== undefined && cuts.length !== 1) {
      problem(
        `importance needs one of ${CUTS.join(', ')}, e.g. keep: 0.75; ${cuts.length ? cuts.join(' and ') : 'none'} given`,
      );
    }
    if (options.importance === undefined && cuts.length > 0)
      problem(`${cuts.join(' and ')} cut a ranking: name its file with importance`);
    if (options.seed !== undefined && options.random === undefined) problem('seed belongs to random');
  });

export type FixedOptions = z.input<typeof fixedOptions>;

/**
 * The same units in every step; all of them when no option is given.
 *
 * Counts (`first`, `last`, `random`, a cut ranking) go over the units of the blocks. What lies outside the blocks trains besides when
 * the adapter makes it trainable, as LISA and IST have it: `last: 2` with `full()` trains two blocks and the embedding, final norm
 * and head; `outside: 'freeze'` leaves the two blocks alone. A list of `units` is meant literally: nothing is added to it unless
 * `outside: 'train'` says so. With a ranking, ranked units obey their rank wherever they lie, and units of the blocks that the
 * ranking does not know (norms, in a ranking of linear modules) train along.
 */
export function fixed(options: FixedOptions = {}): LayerSelector {
  const parsed = parseOptions('selector fixed', fixedOptions, options);
  const file = parsed.importance === undefined ? undefined : readImportance(parsed.importance);
  const granularity = parsed.granularity ?? file?.granularity ?? 'block';
  if (file && file.granularity !== granularity) {
    throw new LftError(
      'selector-options',
      `selector fixed: ${parsed.importance} ranks at granularity ${file.granularity}, and granularity is ${granularity}. Leave the option out, or aggregate the ranking first.`,
      { file: file.granularity, granularity },
    );
  }
  const outside = parsed.outside ?? (parsed.units ? 'freeze' : 'train');

  function chooseInside(context: SelectorContext): UnitId[] {
    const inside = context.units.filter((unit) => unit.block !== undefined).map((unit) => unit.id);
    if (parsed.units) {
      requireUnits('selector fixed', parsed.units, context.units);
      return parsed.units;
    }
    if (file) {
      requireUnits(
        `selector fixed: ${parsed.importance}`,
        file.scores.keys(),
        context.units,
        'Rank and train with the same model and the same targets.',
      );
      return [...cutRanking(file, parsed), ...inside.filter((id) => !file.scores.has(id))];
    }
    const count = parsed.first ?? parsed.last ?? parsed.random;
    if (count === undefined) return inside;
    requireCount(count, inside.length, granularity);
    if (parsed.first !== undefined) return inside.slice(0, count);
    if (parsed.last !== undefined) return inside.slice(inside.length - count);
    const random = parsed.seed === undefined ? context.random('units') : keyedRandom(parsed.seed, 'fixed', 'units');
    return random.sample(inside.length, count).map((index) => inside[index]!);
  }

  return chosenOnce({
    name: 'fixed',
    options: { ...parsed, granularity, outside } as Json,
    granularity,
    importance: file && { method: file.method, granularity: file.granularity, scores: file.scores },
    choose(context) {
      if (parsed.train === 'none') return [];
      const trains = new Set(chooseInside(context));
      const besides = (unit: LayerUnit) =>
        unit.block === undefined && outside === 'train' && !file?.scores.has(unit.id);
      return context.units.filter((unit) => trains.has(unit.id) || besides(unit)).map((unit) => unit.id);
    },
  });
}

function requireCount(count: number, there: number, granularity: string): void {
  if (count <= there) return;
  throw new LftError(
    'selector-units',
    `selector fixed: ${count} units are to train, and the blocks have ${there} trainable units at granularity ${granularity}. Ask for at most ${there}.`,
    { count, there, granularity },
  );
}

/** `lft train --selector fixed`. */
export const fixedSelector: SelectorPlugin<typeof fixedOptions> = {
  name: 'fixed',
  summary: 'the same units in every step: all, the first or last k, a list, or the top of a ranking',
  options: fixedOptions,
  create: fixed,
};
