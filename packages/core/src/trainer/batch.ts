import { capabilities } from '../backend/capabilities.js';
import { type Example, IGNORED_LABEL } from '../contracts/data-source.js';

/** Document index of padding: a document of its own, which no token looks at. */
export const PADDING = -1;

/** Rows of token ids, padded on the right to the longest; or all in one row, one after the other. */
export interface Batch {
  readonly rows: number;
  readonly length: number;
  /** [rows × length] */
  readonly ids: Int32Array;
  /** Document of every token; absent when every row is one document without padding. */
  readonly segments?: Int32Array;
  /** First token of each example. */
  readonly starts: readonly number[];
  /** Indices into the tokens [rows × length] whose next token is learned. */
  readonly predicting: Int32Array;
  /** The token that each of them should predict. */
  readonly targets: Int32Array;
}

/**
 * @param padTokenId fills the padding; any id will do, nothing looks at it
 * @param join       puts examples of different lengths in one row in place of padding them: by itself where that row's attention costs no
 *                   more than the examples' own
 */
export function collate(
  examples: readonly Example[],
  padTokenId: number,
  join = capabilities().skipsOtherDocuments ?? false,
): Batch {
  const lengths = examples.map(({ ids }) => ids.length);
  const longest = Math.max(...lengths);
  const joined = join && lengths.some((each) => each < longest);
  const rows = joined ? 1 : examples.length;
  const length = joined ? lengths.reduce((sum, each) => sum + each, 0) : longest;
  const ids = new Int32Array(rows * length).fill(padTokenId);
  const segments = new Int32Array(rows * length).fill(PADDING);
  const starts: number[] = [];
  const predicting: number[] = [];
  const targets: number[] = [];
  let single = true;
  let end = 0;
  let documents = 0;
  examples.forEach((example, index) => {
    const at = joined ? end : index * length;
    end = at + example.ids.length;
    starts.push(at);
    ids.set(example.ids, at);
    for (let t = 0; t < example.ids.length; t++) segments[at + t] = documents + (example.segments?.[t] ?? 0);
    if (joined) documents = Math.max(...segments.subarray(at, end)) + 1;
    if (example.segments || example.ids.length < length) single = false;
    for (let t = 1; t < example.ids.length; t++) {
      const label = example.labels[t]!;
      // A document's first token is not predicted from the document before it.
      if (label === IGNORED_LABEL || segments[at + t] !== segments[at + t - 1]) continue;
      predicting.push(at + t - 1);
      targets.push(label);
    }
  });
  const batch = {
    rows,
    length,
    ids,
    starts,
    predicting: Int32Array.from(predicting),
    targets: Int32Array.from(targets),
  };
  return single ? batch : { ...batch, segments };
}
