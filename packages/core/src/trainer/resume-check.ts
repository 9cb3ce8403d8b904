import { LftError } from '../errors/lft-error.js';

/** Parts of a run's config that its numbers do not depend on: a folder may have moved. */
const FREE = [
  /^model\.source$/,
  /^data\.description$/,
  /^data\.options\.(file|path|validationFile)$/,
  /^training\.(keepCheckpoints|checkpointEvery)$/,
];

function flatten(value: unknown, prefix: string, into: Map<string, string>): Map<string, string> {
  if (typeof value === 'object' && value !== null && Object.keys(value).length > 0) {
    for (const [key, child] of Object.entries(value)) flatten(child, prefix ? `${prefix}.${key}` : key, into);
  } else into.set(prefix, JSON.stringify(value) ?? 'absent');
  return into;
}

/**
 * A resumed run must be the run that was started: the same numbers cannot come of other options.
 * @throws LftError resume-mismatch naming every difference
 */
export function checkSameRun(folder: string, saved: unknown, now: unknown): void {
  const before = flatten(saved, '', new Map());
  const after = flatten(now, '', new Map());
  const changed = [...new Set([...before.keys(), ...after.keys()])].filter(
    (key) => !FREE.some((pattern) => pattern.test(key)) && before.get(key) !== after.get(key),
  );
  // A hash tells a person nothing where another difference explains it.
  const telling = changed.filter((key) => !key.endsWith('.fingerprint'));
  const differences = (telling.length > 0 ? telling : changed).map(
    (key) => `${key} was ${before.get(key) ?? 'absent'} and is ${after.get(key) ?? 'absent'}`,
  );
  if (differences.length === 0) return;
  throw new LftError(
    'resume-mismatch',
    `the run in ${folder} was started with other options: ${differences.slice(0, 6).join('; ')}${differences.length > 6 ? `; and ${differences.length - 6} more` : ''}. Resume it with the options of its config.json, or start a new run in another folder.`,
    { folder, differences },
  );
}
