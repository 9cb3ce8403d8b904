import { readText } from './data-file.js';
import { type Row, rowError, toRow } from './row.js';

/**
 * The rows of a JSON file that is one array of objects.
 * @throws LftError data-invalid, naming the line of a syntax error or the row
 */
export async function jsonArray(path: string): Promise<Row[]> {
  const content = await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (error) {
    const { message } = error as Error;
    const position = Number(/position (\d+)/.exec(message)?.[1] ?? content.length);
    const line = content.slice(0, position).split('\n').length;
    throw rowError({ file: path, line, where: `${path}:${line}` }, `not JSON: ${message}`, error);
  }
  if (!Array.isArray(value)) {
    throw rowError(
      { file: path, line: 1, where: `${path}:1` },
      'a .json data file must be one array of objects; one object a line belongs in a .jsonl file',
    );
  }
  return value.map((item, i) => toRow(path, i + 1, `${path}: row ${i + 1}`, item));
}
