import type { Tokenizer } from './tokenizer.js';

/** Turns ids into text as they come, whole characters only. */
export interface StreamDecoder {
  /** @returns the text that the id completes; empty while a character is still in parts */
  push(id: number): string;
  /** @returns what is left at the end, broken characters as U+FFFD */
  flush(): string;
}

/** What decoders write for bytes that are no whole character. */
const BROKEN = '\ufffd';

/**
 * @param context ids that come before (the prompt), so that the first token keeps its leading blank. They are not given back.
 */
export function streamDecoder(tokenizer: Pick<Tokenizer, 'decode'>, context: ArrayLike<number> = []): StreamDecoder {
  // Only the last piece that was given out is decoded again with the new ids: blanks and bytes depend on neighbours, not on more.
  let before = Array.from(context).slice(-16);
  let pending: number[] = [];
  const text = (ids: number[]) => tokenizer.decode(ids, { skipSpecialTokens: true });
  const take = () => text([...before, ...pending]).slice(text(before).length);
  return {
    push(id) {
      pending.push(id);
      const piece = take();
      if (piece === '' || piece.endsWith(BROKEN)) return '';
      before = pending;
      pending = [];
      return piece;
    },
    flush() {
      const piece = pending.length ? take() : '';
      before = [...before, ...pending].slice(-16);
      pending = [];
      return piece;
    },
  };
}
