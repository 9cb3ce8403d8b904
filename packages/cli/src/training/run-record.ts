import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { LftError } from '@lft/core';
import { z } from 'zod';
import type { Settings } from '../settings.js';

const NAME = 'lft.json';

const options = z.record(z.string(), z.unknown());

const recordSchema = z.object({
  version: z.literal(1),
  command: z.enum(['train', 'rank']),
  /** The config file, when it holds something that JSON cannot: a template that is a function. */
  config: z.string().optional(),
  settings: z.object({
    model: z.string(),
    data: options,
    adapter: options,
    selector: options,
    optimizer: options,
    weights: z.string().optional(),
    backend: z.string().optional(),
    samples: z.array(z.string()).optional(),
    sampleTokens: z.number().optional(),
    training: options,
  }),
});

/** How a run was started, in its folder: `lft train --resume --out DIR` needs nothing else. */
export type RunRecord = z.output<typeof recordSchema>;

/** Synchronous, as the trainer goes on at once after it told of its start; renamed, so that a reader sees all or nothing. */
export function writeRunRecord(folder: string, record: RunRecord): void {
  const file = path.join(folder, NAME);
  writeFileSync(`${file}.tmp`, `${JSON.stringify(record, null, 2)}\n`);
  renameSync(`${file}.tmp`, file);
}

/** @throws LftError checkpoint-invalid */
export function readRunRecord(folder: string): { config: string | undefined; settings: Settings } | undefined {
  const file = path.join(folder, NAME);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  const parsed = recordSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    throw new LftError(
      'checkpoint-invalid',
      `${file} does not say how the run was started: remove it, and repeat the run's options with --resume`,
      { file },
    );
  }
  // Undefined fields are none: settings lie over each other by their keys.
  return { config: parsed.data.config, settings: JSON.parse(JSON.stringify(parsed.data.settings)) as Settings };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
