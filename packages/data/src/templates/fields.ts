import { nearestName } from '@lft/core';
import { type Row, rowError } from '../files/row.js';

/**
 * A row's text field.
 * @param expected how the template's fields are written, for the message
 * @throws LftError data-invalid when it is missing or no string
 */
export function requiredText(row: Row, field: string, expected: string): string {
  const value = row.fields[field];
  if (typeof value === 'string') return value;
  if (value !== undefined) throw rowError(row, `field "${field}" must be a string, not ${JSON.stringify(value)}`);
  throw unknownFields(row, expected, field);
}

/** The same for a field that may be missing or null; '' then. */
export function optionalText(row: Row, field: string): string {
  const value = row.fields[field];
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  throw rowError(row, `field "${field}" must be a string, not ${JSON.stringify(value)}`);
}

/** Says which fields the row has and which the template reads. */
export function unknownFields(row: Row, expected: string, field?: string) {
  const names = Object.keys(row.fields);
  const near = field === undefined ? undefined : nearestName(field, names);
  const which = field === undefined ? 'no fields that the template reads' : `no field "${field}"`;
  const hint = near ? ` ("${near}" looks like it)` : '';
  return rowError(
    row,
    `the row has ${which}${hint}. It has ${names.join(', ') || 'none'}; expected ${expected}. Rename the fields, choose another template, or give a function (row) => ({ prompt, response })`,
  );
}
