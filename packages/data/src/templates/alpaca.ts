import { rowError } from '../files/row.js';
import { optionalText, requiredText } from './fields.js';
import { promptAndResponse, type Template } from './template.js';

const EXPECTED = 'instruction, output and, if there is one, input';

/**
 * Stanford Alpaca's prompt, byte for byte: nothing stands after `### Response:`, and an empty input takes the form without input.
 */
export function alpacaPrompt({ instruction, input }: { instruction: string; input?: string | undefined }): string {
  return input
    ? `Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:`
    : `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Response:`;
}

/** Rows {instruction, input?, output}; other fields are passed over. */
export const alpaca: Template = (row) => {
  const { history } = row.fields;
  if (Array.isArray(history) && history.length > 0) {
    throw rowError(row, 'the row has earlier turns in "history", which template alpaca would lose; use template chat');
  }
  const instruction = requiredText(row, 'instruction', EXPECTED);
  const response = requiredText(row, 'output', EXPECTED);
  return promptAndResponse(alpacaPrompt({ instruction, input: optionalText(row, 'input') }), response);
};
