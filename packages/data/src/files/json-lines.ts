import { createReadStream } from 'node:fs';
import { decodeUtf8 } from './data-file.js';
import { type Row, rowError, toRow } from './row.js';

const NEWLINE = 0x0a;

/**
 * The rows of a JSONL file, read as a stream. Only \n ends a line (node:readline would also break at U+2028, which JSON strings may
 * hold); blank lines are passed over.
 * @throws LftError data-invalid, naming file:line
 */
export async function* jsonLines(path: string): AsyncGenerator<Row> {
  let line = 0;
  let rest: Buffer[] = [];
  const row = (bytes: Buffer): Row | undefined => {
    line++;
    const where = `${path}:${line}`;
    const content = decodeUtf8(bytes, where).trim();
    if (content === '') return undefined;
    let value: unknown;
    try {
      value = JSON.parse(content);
    } catch (error) {
      const hint = line === 1 && content.startsWith('[') ? '; a JSON array belongs in a .json file' : '';
      throw rowError({ file: path, line, where }, `not a JSON object: ${(error as Error).message}${hint}`, error);
    }
    return toRow(path, line, where, value);
  };
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      const next = row(Buffer.concat([...rest, chunk.subarray(from, at)]));
      rest = [];
      from = at + 1;
      if (next) yield next;
    }
    rest.push(chunk.subarray(from));
  }
  const last = row(Buffer.concat(rest));
  if (last) yield last;
}
