import { extname } from 'node:path';
import { LftError } from '@lft/core';
import { requireFile } from './data-file.js';
import { jsonArray } from './json-array.js';
import { jsonLines } from './json-lines.js';
import type { Row } from './row.js';

/**
 * The rows of a .jsonl, .ndjson or .json file.
 * @param limit at most this many, from the top
 * @throws LftError file-missing, data-invalid (naming file:line), data-empty
 */
export async function readRows(path: string, limit = Number.POSITIVE_INFINITY): Promise<Row[]> {
  await requireFile(path);
  const kind = extname(path).toLowerCase();
  const rows: Row[] = [];
  if (kind === '.json') {
    rows.push(...(await jsonArray(path)).slice(0, limit));
  } else if (kind === '.jsonl' || kind === '.ndjson') {
    for await (const row of jsonLines(path)) {
      rows.push(row);
      if (rows.length >= limit) break;
    }
  } else {
    throw new LftError(
      'data-invalid',
      `${path}: rows are read from .jsonl, .ndjson and .json files, not from "${kind || 'a file without an ending'}"; convert it to JSONL, one object a line, or use text() for plain text`,
      { path },
    );
  }
  if (rows.length === 0) {
    throw new LftError('data-empty', `${path} has no rows; it needs one JSON object a line`, { path });
  }
  return rows;
}
