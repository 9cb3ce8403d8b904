import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';

/**
 * What a finished run left in its folder, by file: logs and importance as text, tensors as digests. What has a clock in it is left out.
 * Two runs that did the same have equal records.
 */
export async function runRecord(folder: string): Promise<Record<string, string>> {
  const record: Record<string, string> = {};
  for (const file of ['metrics.jsonl', 'importance.jsonl', 'importance.json']) {
    record[file] = await readFile(path.join(folder, file), 'utf8').catch(() => 'absent');
  }
  const newest = (await readdir(path.join(folder, 'checkpoints')))
    .filter((name) => !name.startsWith('.'))
    .sort()
    .at(-1);
  if (!newest) return record;
  const checkpoint = path.join(folder, 'checkpoints', newest);
  for (const file of (await filesUnder(checkpoint)).sort()) {
    const name = `${newest}/${file}`;
    const bytes = await readFile(path.join(checkpoint, file));
    record[name] = file === 'state.json' ? withoutClock(bytes.toString()) : digest(bytes);
  }
  return record;
}

async function filesUnder(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  const kinds = await Promise.all(names.map((name) => stat(path.join(folder, name))));
  return names.filter((_, i) => kinds[i]!.isFile());
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The size of the log of timings differs from run to run. */
function withoutClock(text: string): string {
  const state = JSON.parse(text) as { logs: { timings?: number } };
  delete state.logs.timings;
  return JSON.stringify(state);
}
