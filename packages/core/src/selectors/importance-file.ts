import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Importance } from '../contracts/importance.js';
import type { UnitId } from '../contracts/layer-unit.js';
import { LftError } from '../errors/lft-error.js';
import { rankUnits } from './ranking.js';

const unitSchema = z.object({
  id: z.string().min(1).describe('Id of the unit: a Hugging Face path, or the name of a parameter'),
  block: z.int().nonnegative().nullable().describe('Index of its decoder block; null outside the blocks'),
  score: z.number().describe('A higher score matters more'),
  rank: z.int().positive().describe('1 is the most important; equal scores in forward order'),
});

/** What `importance.json` holds. A ranking travels in it: one run ranks, others train, compare and draw. */
export const importanceSchema = z.object({
  format: z.literal('lft-importance', 'is not "lft-importance"'),
  version: z.literal(1, 'is not 1, the version that this release reads; a newer release of lft wrote the file'),
  method: z.string().min(1),
  granularity: z.enum(['block', 'module', 'matrix']),
  direction: z.literal('higher-is-more-important'),
  model: z.object({ source: z.string(), fingerprint: z.string() }),
  adapter: z.object({ name: z.string() }),
  data: z.object({ fingerprint: z.string() }),
  seed: z.int(),
  step: z.int().nonnegative(),
  units: z
    .array(unitSchema)
    .min(1)
    .refine((units) => new Set(units.map((unit) => unit.id)).size === units.length, 'an id occurs twice'),
});

/** A ranking that was read from a file: an {@link Importance}, and where it comes from. */
export type ImportanceFile = z.output<typeof importanceSchema> & Importance;

/** Where a ranking comes from: all that `importance.json` holds beside the scores. */
export interface ImportanceOrigin {
  readonly model: { readonly source: string; readonly fingerprint: string };
  readonly adapter: { readonly name: string };
  readonly data: { readonly fingerprint: string };
  readonly seed: number;
  /** Number of completed optimizer steps. */
  readonly step: number;
  /** The run's units in forward order; those without a score are left out of the file. */
  readonly units: readonly { readonly id: UnitId; readonly block: number | undefined }[];
}

/**
 * Reads a ranking. Synchronous, because a selector's granularity is the file's and has to be known when the selector is made.
 * @throws LftError file-missing, importance-invalid
 */
export function readImportance(path: string): ImportanceFile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new LftError(
      'file-missing',
      `importance file ${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? cause}). Name the importance.json of a run folder whose selector ranks units (ist, ila).`,
      { path },
      { cause },
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new LftError(
      'importance-invalid',
      `importance file ${path} is not JSON: ${(cause as Error).message}`,
      { path },
      { cause },
    );
  }
  const result = importanceSchema.safeParse(json);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'the file'}: ${issue.message}`);
    throw new LftError(
      'importance-invalid',
      `importance file ${path} is not a ranking that can be used: ${problems.slice(0, 5).join('; ')}. Write it with writeImportance, or rank again.`,
      { path, problems },
    );
  }
  return { ...result.data, scores: new Map(result.data.units.map((unit) => [unit.id, unit.score])) };
}

/**
 * Writes a ranking to a temporary name beside `path` and renames it, so that a reader never sees half a file.
 * @throws LftError importance-invalid when a score is not finite or belongs to no unit of the run
 */
export async function writeImportance(path: string, importance: Importance, origin: ImportanceOrigin): Promise<void> {
  const { method, granularity, scores } = importance;
  for (const [id, score] of scores) {
    if (!Number.isFinite(score)) {
      throw new LftError(
        'importance-invalid',
        `${method}: the score of ${id} is ${score}; a ranking needs finite scores.`,
        { id, score },
      );
    }
  }
  const units = origin.units.filter((unit) => scores.has(unit.id));
  if (units.length !== scores.size) {
    const known = new Set(units.map((unit) => unit.id));
    const stray = [...scores.keys()].filter((id) => !known.has(id));
    throw new LftError(
      'importance-invalid',
      `${method}: scores of units that the run does not have: ${stray.join(', ')}.`,
      { stray },
    );
  }
  const order = new Map(units.map((unit) => [unit.id, scores.get(unit.id)!]));
  const ranks = new Map(rankUnits({ scores: order }).map((id, index) => [id, index + 1]));
  const file: z.input<typeof importanceSchema> = {
    format: 'lft-importance',
    version: 1,
    method,
    granularity,
    direction: 'higher-is-more-important',
    model: { source: origin.model.source, fingerprint: origin.model.fingerprint },
    adapter: { name: origin.adapter.name },
    data: { fingerprint: origin.data.fingerprint },
    seed: origin.seed,
    step: origin.step,
    units: units.map(({ id, block }) => ({ id, block: block ?? null, score: scores.get(id)!, rank: ranks.get(id)! })),
  };
  const temporary = `${path}.tmp`;
  await writeFile(temporary, `${JSON.stringify(file, null, 1)}\n`);
  await rename(temporary, path);
}
