import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LftError, readImportance } from '@lft/core';
import { z } from 'zod';

/** JSON has no NaN and no infinity: they are written as null, and are gaps in a chart. */
const measure = z.number().nullable();
const count = z.int().nonnegative();

const named = z.looseObject({ name: z.string(), options: z.unknown() });

const configSchema = z.looseObject({
  version: z.literal(1),
  model: z.looseObject({ source: z.string(), architecture: z.string(), blocks: count.optional() }),
  adapter: named,
  selector: z.looseObject({ name: z.string(), granularity: z.string(), options: z.unknown() }),
  optimizer: named,
  data: z.looseObject({ description: z.string().optional() }),
  training: z.looseObject({ steps: count }),
  backend: z.string().optional(),
  units: z.array(z.looseObject({ id: z.string(), block: count.nullish(), size: count })),
  trainable: count,
  total: count,
});

const stepSchema = z.looseObject({
  step: count,
  loss: measure,
  tokens: count,
  learningRate: measure,
  gradientNorm: measure,
  active: z.array(z.string()),
});

const evaluationSchema = z.looseObject({ step: count, validationLoss: measure });

const importanceSchema = z.looseObject({
  step: count,
  method: z.string(),
  granularity: z.string(),
  scores: z.record(z.string(), measure),
});

const timingSchema = z.looseObject({
  step: count,
  seconds: z.number().nonnegative(),
  tokensPerSecond: measure.optional(),
  rssBytes: measure.optional(),
  tensorBytes: measure.optional(),
  probeSeconds: measure.optional(),
});

export type RunConfig = z.output<typeof configSchema>;
export type StepRecord = z.output<typeof stepSchema>;
export type EvaluationRecord = z.output<typeof evaluationSchema>;
export type ImportanceRecord = z.output<typeof importanceSchema>;
export type TimingRecord = z.output<typeof timingSchema>;

/** What a run folder tells: one record a step, in the order of the steps. */
export interface RunRecord {
  readonly folder: string;
  readonly config: RunConfig;
  readonly steps: readonly StepRecord[];
  readonly evaluations: readonly EvaluationRecord[];
  /** Scores as they changed. */
  readonly importance: readonly ImportanceRecord[];
  readonly timings: readonly TimingRecord[];
  /** The last scores of the run: importance.json, or else the last line of importance.jsonl. */
  readonly ranking: { readonly method: string; readonly scores: ReadonlyMap<string, number> } | undefined;
}

/**
 * Reads a run folder.
 * @throws LftError file-missing when the folder is no run, config-invalid, importance-invalid or data-invalid when a file of it is damaged
 */
export async function readRun(folder: string): Promise<RunRecord> {
  const config = await readConfig(folder);
  const metrics = await readLines(folder, 'metrics.jsonl', z.union([evaluationSchema, stepSchema]));
  return {
    folder,
    config,
    steps: lastOfEachStep(metrics.filter((line): line is StepRecord => !('validationLoss' in line))),
    evaluations: lastOfEachStep(metrics.filter((line): line is EvaluationRecord => 'validationLoss' in line)),
    ...(await readScores(folder)),
    timings: lastOfEachStep(await readLines(folder, 'timings.jsonl', timingSchema)),
  };
}

async function readScores(folder: string): Promise<Pick<RunRecord, 'importance' | 'ranking'>> {
  const importance = lastOfEachStep(await readLines(folder, 'importance.jsonl', importanceSchema));
  const file = join(folder, 'importance.json');
  const last = (await exists(file)) ? readImportance(file) : importance.at(-1);
  if (!last) return { importance, ranking: undefined };
  const entries = last.scores instanceof Map ? [...last.scores] : Object.entries(last.scores);
  const scores = new Map(entries.filter((entry): entry is [string, number] => entry[1] !== null));
  return { importance, ranking: scores.size > 0 ? { method: last.method, scores } : undefined };
}

async function readConfig(folder: string): Promise<RunConfig> {
  const path = join(folder, 'config.json');
  const text = await readIfThere(path);
  if (text === undefined) {
    const there = await exists(folder);
    throw new LftError(
      'file-missing',
      there
        ? `${folder} is not a run folder: it has no config.json. Give the folder that the run was told to write to (its "out")`
        : `there is no folder ${folder}. Give the folder that the run was told to write to (its "out")`,
      { folder },
    );
  }
  const parsed = configSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new LftError(
    'config-invalid',
    `${path} is not the configuration of a run (${issues(parsed.error)}): was it written by another version or tool?`,
    { path },
  );
}

/** A line a record. The last line may be torn, when the run was killed while it wrote. */
async function readLines<Schema extends z.ZodType>(
  folder: string,
  name: string,
  schema: Schema,
): Promise<z.output<Schema>[]> {
  const path = join(folder, name);
  const lines = ((await readIfThere(path)) ?? '').split('\n');
  while (lines.at(-1)?.trim() === '') lines.pop();
  const records: z.output<Schema>[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    const value = parseJson(line);
    if (value === undefined && index === lines.length - 1) break;
    const parsed = schema.safeParse(value);
    if (!parsed.success) {
      throw new LftError(
        'data-invalid',
        `line ${index + 1} of ${path} ${value === undefined ? 'is not JSON' : `is not what a run writes there (${issues(parsed.error)})`}; remove the line to see the rest of the run`,
        { path, line: index + 1 },
      );
    }
    records.push(parsed.data);
  }
  return records;
}

/** In the order of the steps; should a step be there twice, the later line counts. */
function lastOfEachStep<Record extends { step: number }>(records: readonly Record[]): Record[] {
  const byStep = new Map(records.map((record) => [record.step, record]));
  return [...byStep.values()].sort((a, b) => a.step - b.step);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function issues(error: z.ZodError): string {
  return error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.join('.') || 'value'}: ${issue.message}`)
    .join('; ');
}
