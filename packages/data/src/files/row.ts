import { type Json, LftError } from '@lft/core';

/** One JSON object of a data file and where it stands. */
export interface Row {
  readonly file: string;
  /** 1-based line of a JSONL file; 1-based number in a JSON array. */
  readonly line: number;
  /** `file:line`, for messages. */
  readonly where: string;
  readonly fields: { readonly [field: string]: Json };
}

/** An error that says in which row it is. */
export function rowError(row: Pick<Row, 'file' | 'line' | 'where'>, what: string, cause?: unknown): LftError {
  return new LftError('data-invalid', `${row.where}: ${what}`, { file: row.file, line: row.line }, { cause });
}

/**
 * @throws LftError data-invalid when the value is no object
 */
export function toRow(file: string, line: number, where: string, value: unknown): Row {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return { file, line, where, fields: value as Row['fields'] };
  }
  const found = Array.isArray(value) ? 'an array' : JSON.stringify(value).slice(0, 40);
  throw rowError({ file, line, where }, `a row must be a JSON object such as {"instruction": …}, not ${found}`);
}
