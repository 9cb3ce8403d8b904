import { type Example, IGNORED_LABEL, LftError, type ModelInfo } from '@lft/core';
import type { Rendered } from './templates/template.js';
import type { Tokenizer } from './tokenizer.js';

/** What the loss is taken on: the responses, or every token. */
export type LossOn = 'response' | 'all';

/**
 * A rendered row as ids and labels. Each part is encoded as what follows the ones before, so that the ids before a response are those
 * of the prompt alone, as at generation. The first label is always ignored: nothing comes before it.
 * @param eosTokenId ends the row when the rendering asks for delimiters
 */
export function encode(
  rendered: Rendered,
  tokenizer: Tokenizer,
  eosTokenId: number | undefined,
  lossOn: LossOn,
): Example {
  const ids: number[] = [];
  const labels: number[] = [];
  const add = (more: readonly number[], learned: boolean) => {
    for (const id of more) {
      labels.push(learned && ids.length > 0 ? id : IGNORED_LABEL);
      ids.push(id);
    }
  };
  const all = lossOn === 'all';
  if (rendered.delimiters) add(tokenizer.startIds, false);
  let first = true;
  for (const part of rendered.parts) {
    if (part.text === '') continue;
    const encoded = first
      ? tokenizer.encode(part.text, { addSpecialTokens: false })
      : tokenizer.encodeContinuation(part.text);
    add(encoded, all || part.learned);
    first = false;
  }
  if (rendered.delimiters && eosTokenId !== undefined)
    add([eosTokenId], all || (rendered.parts.at(-1)?.learned ?? false));
  return { ids: Int32Array.from(ids), labels: Int32Array.from(labels) };
}

/**
 * The token that ends a document: the tokenizer's, else the model's.
 * @throws LftError tokenizer-invalid when neither has one
 */
export function endOfSequence(tokenizer: Tokenizer, model: Pick<ModelInfo, 'eosTokenIds'>): number {
  const id = tokenizer.eosTokenId ?? model.eosTokenIds[0];
  if (id !== undefined) return id;
  throw new LftError(
    'tokenizer-invalid',
    `neither tokenizer_config.json nor config.json in ${tokenizer.source} names an end-of-sequence token, so that a response would have no end; set "eos_token" in tokenizer_config.json`,
    { source: tokenizer.source },
  );
}

/** How many labels are learned. */
export function learnedTokens(example: Pick<Example, 'labels'>): number {
  let count = 0;
  for (const label of example.labels) if (label !== IGNORED_LABEL) count++;
  return count;
}
