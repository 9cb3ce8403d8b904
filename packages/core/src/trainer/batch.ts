import { type Example, IGNORED_LABEL } from '../contracts/data-source.js';

/** Document index of padding: a document of its own, which no token looks at. */
export const PADDING = -1;

/** Rows of token ids, padded on the right to the longest. */
export interface Batch {
  readonly rows: number;
  readonly length: number;
  /** [rows × length] */
  readonly ids: Int32Array;
  /** Document of every token; absent when every row is one document without padding. */
  readonly segments?: Int32Array;
  /** Indices into the tokens [rows × length] whose next token is learned. */
  readonly predicting: Int32Array;
  /** The token that each of them should predict. */
  readonly targets: Int32Array;
}

/** @param padTokenId fills the padding; any id will do, nothing looks at it */
export function collate(examples: readonly Example[], padTokenId: number): Batch {
  const rows = examples.length;
  const length = Math.max(...examples.map(({ ids }) => ids.length));
  const ids = new Int32Array(rows * length).fill(padTokenId);
  const segments = new Int32Array(rows * length).fill(PADDING);
  const predicting: number[] = [];
  const targets: number[] = [];
  let single = true;
  examples.forEach((example, row) => {
    const at = row * length;
    ids.set(example.ids, at);
    if (example.segments) segments.set(example.segments, at);
    else segments.fill(0, at, at + example.ids.length);
    if (example.segments || example.ids.length < length) single = false;
    for (let t = 1; t < example.ids.length; t++) {
      const label = example.labels[t]!;
      // A document's first token is not predicted from the document before it.
      if (label === IGNORED_LABEL || segments[at + t] !== segments[at + t - 1]) continue;
      predicting.push(at + t - 1);
      targets.push(label);
    }
  });
  const batch = { rows, length, ids, predicting: Int32Array.from(predicting), targets: Int32Array.from(targets) };
  return single ? batch : { ...batch, segments };
}
