import { optionalText, requiredText, unknownFields } from './fields.js';
import { promptAndResponse, type Template } from './template.js';

const RESPONSES = ['completion', 'response', 'answer'];
const EXPECTED = `text; or prompt and ${RESPONSES.join(' | ')}; or instruction, output and, if there is one, input`;

/**
 * The fields as they are. `prompt` and `completion` (or `response`, `answer`) follow one another with nothing between; `instruction`,
 * `input` and `output` stand on lines of their own; of `text` all is learned.
 */
export const plain: Template = (row) => {
  if ('prompt' in row.fields) {
    const response = RESPONSES.find((field) => field in row.fields);
    if (response === undefined) throw unknownFields(row, EXPECTED, 'completion');
    return promptAndResponse(requiredText(row, 'prompt', EXPECTED), requiredText(row, response, EXPECTED));
  }
  if ('instruction' in row.fields) {
    const lines = [requiredText(row, 'instruction', EXPECTED), optionalText(row, 'input')].filter(Boolean);
    return promptAndResponse(`${lines.join('\n')}\n`, requiredText(row, 'output', EXPECTED));
  }
  if ('text' in row.fields) {
    return { parts: [{ text: requiredText(row, 'text', EXPECTED), learned: true }], delimiters: true };
  }
  throw unknownFields(row, EXPECTED);
};
