import { createHash } from 'node:crypto';
import { type Json, LftError } from '@lft/core';
import { z } from 'zod';
import { rowError } from '../files/row.js';
import { promptAndResponse, type Template } from './template.js';

/** A template of the user's own: the row's fields in, the prompt and what is to be answered out. */
export type CustomTemplate = (fields: { readonly [field: string]: Json }) => { prompt: string; response: string };

const resultSchema = z.strictObject({ prompt: z.string(), response: z.string() });

/**
 * @throws LftError data-invalid, naming file:line, when the function throws or gives anything but { prompt, response }
 */
export function custom(template: CustomTemplate): Template {
  return (row) => {
    let result: unknown;
    try {
      result = template(row.fields);
    } catch (error) {
      if (LftError.is(error)) throw error;
      throw rowError(row, `the template function failed: ${(error as Error).message}`, error);
    }
    const parsed = resultSchema.safeParse(result);
    if (parsed.success) return promptAndResponse(parsed.data.prompt, parsed.data.response);
    const issue = parsed.error.issues[0];
    throw rowError(
      row,
      `the template function must return { prompt: string, response: string }: ${issue?.path.join('.') || 'result'}: ${issue?.message}`,
    );
  };
}

/** A function's name among recorded options: its source text is part of it, what it closes over isn't. */
export function customName(template: CustomTemplate): string {
  const source = createHash('sha256').update(String(template)).digest('hex').slice(0, 12);
  return `function ${template.name || 'anonymous'} ${source}`;
}
