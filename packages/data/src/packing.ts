import { type Example, IGNORED_LABEL } from '@lft/core';

/**
 * Packs examples into rows of at most `maxLength` tokens: each goes, in order, into the first row with room for it. `segments` numbers
 * the examples in a row from 0; the first label of each is ignored, since its prediction would come from another document.
 * @param examples none longer than `maxLength`
 */
export function pack(examples: readonly Example[], maxLength: number): Example[] {
  const shortest = examples.reduce((least, { ids }) => Math.min(least, ids.length), maxLength);
  const rows: Row[] = [];
  let open: Row[] = [];
  for (const example of examples) {
    let row = open.find((candidate) => candidate.room >= example.ids.length);
    if (!row) {
      row = { room: maxLength, examples: [] };
      rows.push(row);
      open.push(row);
    }
    row.examples.push(example);
    row.room -= example.ids.length;
    if (row.room < shortest) open = open.filter((candidate) => candidate !== row);
  }
  return rows.map(({ examples: packed }) => join(packed));
}

interface Row {
  room: number;
  readonly examples: Example[];
}

function join(examples: readonly Example[]): Example {
  const length = examples.reduce((sum, { ids }) => sum + ids.length, 0);
  const ids = new Int32Array(length);
  const labels = new Int32Array(length);
  const segments = new Int32Array(length);
  let at = 0;
  examples.forEach((example, segment) => {
    ids.set(example.ids, at);
    labels.set(example.labels, at);
    labels[at] = IGNORED_LABEL;
    segments.fill(segment, at, at + example.ids.length);
    at += example.ids.length;
  });
  return { ids, labels, segments };
}
