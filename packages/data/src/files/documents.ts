import { extname } from 'node:path';
import { LftError } from '@lft/core';
import { readText } from './data-file.js';
import { rowError } from './row.js';
import { readRows } from './rows.js';

/** A text and where it begins. */
export interface TextDocument {
  /** `file:line`, for messages. */
  readonly where: string;
  readonly text: string;
}

/**
 * The documents of a file: the `text` fields of a .jsonl, .ndjson or .json file; else the pieces of a text file between separators,
 * without the newlines next to a separator.
 * @throws LftError file-missing, data-invalid, data-empty
 */
export async function readDocuments(path: string, separator: string, limit?: number): Promise<TextDocument[]> {
  const documents: TextDocument[] = [];
  if (['.jsonl', '.ndjson', '.json'].includes(extname(path).toLowerCase())) {
    for (const row of await readRows(path, limit)) {
      const { text } = row.fields;
      if (typeof text !== 'string') {
        throw rowError(row, `needs a field "text"; the row has ${Object.keys(row.fields).join(', ') || 'no fields'}`);
      }
      if (text !== '') documents.push({ where: row.where, text });
    }
  } else {
    const content = await readText(path);
    const pieces = content.split(separator);
    let line = 1;
    for (const piece of pieces) {
      const text = pieces.length === 1 ? piece : piece.replace(/^(\r?\n)+|(\r?\n)+$/g, '');
      const before = text === '' ? 0 : piece.indexOf(text);
      if (text.trim() !== '') {
        documents.push({ where: `${path}:${line + newlines(piece.slice(0, before))}`, text });
      }
      line += newlines(piece) + newlines(separator);
      if (limit !== undefined && documents.length >= limit) break;
    }
  }
  if (documents.length === 0) throw new LftError('data-empty', `${path} has no text in it`, { path });
  return documents;
}

function newlines(text: string): number {
  return text.split('\n').length - 1;
}
