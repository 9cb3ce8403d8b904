import type { Row } from '../files/row.js';

/** A row as text, in the pieces that are learned and those that aren't. */
export interface Rendered {
  /** Joined in order they are the whole text. */
  readonly parts: readonly RenderedPart[];
  /**
   * Whether the tokenizer's own start (BOS, where it has one) goes before and the end-of-sequence token after. A chat template writes
   * both itself.
   */
  readonly delimiters: boolean;
}

export interface RenderedPart {
  readonly text: string;
  /** Whether the loss is taken on it under `lossOn: 'response'`. */
  readonly learned: boolean;
}

/**
 * Turns a row into text.
 * @throws LftError data-invalid, naming file:line, the row's fields and the expected ones
 */
export type Template = (row: Row) => Rendered;

/** What a prompt and its response are as text: nothing between them, the end-of-sequence token after. */
export function promptAndResponse(prompt: string, response: string): Rendered {
  return {
    parts: [
      { text: prompt, learned: false },
      { text: response, learned: true },
    ],
    delimiters: true,
  };
}
