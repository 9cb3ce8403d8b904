import { type Example, LftError, type ModelInfo } from '@lft/core';
import { learnedTokens } from './encode.js';

/** What becomes of an example longer than `maxLength`. */
export type TooLong = 'error' | 'truncate' | 'skip';

/** An example and where it comes from. */
export interface Located {
  /** `file:line`, for messages. */
  readonly where: string;
  readonly example: Example;
}

/** Examples that fit, and how many were changed or left out for it. */
export interface Fitted {
  readonly examples: Example[];
  readonly truncated: number;
  readonly skipped: number;
  /** Left out since nothing in them is learned (truncation took the whole response, mostly). */
  readonly masked: number;
}

/**
 * Makes every example fit into `maxLength` tokens and leaves out those without anything to learn.
 * @throws LftError example-too-long under 'error', naming the first such row, how many there are and the longest; labels-masked when
 *   nothing is left to learn; data-empty when all were skipped
 */
export function fit(located: readonly Located[], maxLength: number, tooLong: TooLong, model: ModelInfo): Fitted {
  const long = located.filter(({ example }) => example.ids.length > maxLength);
  const [first] = long;
  if (first && tooLong === 'error') throw tooLongError(first, long, located.length, maxLength, model);

  const fitting = tooLong === 'skip' ? located.filter(({ example }) => example.ids.length <= maxLength) : located;
  const whole = fitting.map(({ example }) => cut(example, maxLength));
  const examples = whole.filter((example) => learnedTokens(example) > 0);
  const skipped = located.length - fitting.length;
  if (fitting.length === 0) {
    throw new LftError(
      'data-empty',
      `all ${located.length} examples (the first: ${first?.where}) are longer than maxLength ${maxLength} and were skipped; raise maxLength or use tooLong: 'truncate'`,
      { maxLength, examples: located.length },
    );
  }
  if (examples.length === 0) {
    const cause = long.length
      ? `the prompts alone fill maxLength ${maxLength}, so that truncation cut off every response; raise maxLength, or use lossOn: 'all' to learn the prompts too`
      : "the responses are empty; check which fields the template reads, or use lossOn: 'all' to learn the prompts too";
    throw new LftError('labels-masked', `nothing is left to learn in ${fitting.length} examples: ${cause}`, {
      maxLength,
      examples: fitting.length,
    });
  }
  return {
    examples,
    truncated: tooLong === 'truncate' ? long.length : 0,
    skipped,
    masked: whole.length - examples.length,
  };
}

function cut(example: Example, maxLength: number): Example {
  if (example.ids.length <= maxLength) return example;
  return { ids: example.ids.slice(0, maxLength), labels: example.labels.slice(0, maxLength) };
}

function tooLongError(first: Located, long: readonly Located[], count: number, maxLength: number, model: ModelInfo) {
  const length = first.example.ids.length;
  const longest = long.reduce((most, { example }) => Math.max(most, example.ids.length), 0);
  const raise =
    maxLength < model.contextLength
      ? `raise maxLength (the model's context is ${model.contextLength})`
      : `the model's context is ${model.contextLength}, so shorten the rows`;
  return new LftError(
    'example-too-long',
    `${first.where}: ${length} tokens are more than maxLength ${maxLength}; ${long.length} of ${count} examples are too long, the longest has ${longest}. Either ${raise}, or set tooLong: 'truncate' (cuts their ends) or 'skip' (leaves them out)`,
    { where: first.where, length, maxLength, tooLong: long.length, examples: count, longest },
  );
}
