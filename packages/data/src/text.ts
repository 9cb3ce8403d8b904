import { basename } from 'node:path';
import { type DataSource, type Dataset, type Example, IGNORED_LABEL, LftError, parseOptions } from '@lft/core';
import { z } from 'zod';
import { encode, endOfSequence } from './encode.js';
import { readDocuments, type TextDocument } from './files/documents.js';
import { filesFingerprint } from './fingerprint.js';
import { fit } from './fit.js';
import { pack } from './packing.js';
import { heldOut, tailCut } from './split.js';
import { loadTokenizer } from './tokenizer.js';
import { validationSchema } from './validation.js';
import { checkVocabulary } from './vocabulary.js';

const schema = z.object({
  /** What stands between documents of a text file: '\n\n' for blank lines. A file without it is one document. */
  separator: z.string().min(1).default('<|endoftext|>'),
  /**
   * 'stream' lays all documents end to end and cuts windows of maxLength tokens; 'documents' packs whole documents into rows, each
   * seeing only itself; 'none' makes a row of each.
   */
  packing: z.enum(['stream', 'documents', 'none']).default('stream'),
  /** Share held out, from the end of the file, or a file of its own. */
  validation: validationSchema.default(0.05),
  /** Takes only so many documents, from the top of the file. */
  limit: z.int().positive().optional(),
  /** Documents longer than maxLength, when packing isn't 'stream'. */
  tooLong: z.enum(['error', 'truncate', 'skip']).default('error'),
});

/** Options of {@link text}. */
export type TextOptions = z.input<typeof schema>;

/**
 * Text to learn whole: a text file, or the `text` fields of a .jsonl, .ndjson or .json file. Documents keep their order; each begins as
 * the tokenizer begins a text (BOS, where it has one) and ends with the end-of-sequence token. The share held out is the last documents,
 * or the last tokens when no document starts near there.
 * @param path from the working directory
 * @throws LftError options-invalid at once; from `prepare`: file-missing, data-invalid, data-empty, tokenizer-invalid,
 *   vocabulary-mismatch, example-too-long
 */
export function text(path: string, options: TextOptions = {}): DataSource {
  const parsed = parseOptions('text', schema, options);
  const { separator, packing, validation, limit, tooLong } = parsed;
  const recorded = { separator, packing, validation, ...(limit === undefined ? {} : { limit }), tooLong };

  return {
    options: { source: 'text', path, ...recorded },
    async prepare({ model, maxLength, seed }) {
      const tokenizer = await loadTokenizer(model.source);
      checkVocabulary(tokenizer, model);
      const eos = endOfSequence(tokenizer, model);
      const encoded = (document: TextDocument) => ({
        where: document.where,
        example: encode({ parts: [{ text: document.text, learned: true }], delimiters: true }, tokenizer, eos, 'all'),
      });
      const documents = (await readDocuments(path, separator, limit)).map(encoded);
      const heldDocuments =
        typeof validation === 'string' ? (await readDocuments(validation, separator)).map(encoded) : undefined;

      const share = typeof validation === 'string' ? 0 : validation;
      let train: Example[];
      let held: Example[];
      if (packing === 'stream') {
        const lengths = documents.map(({ example }) => example.ids.length);
        const stream = concatenate(documents.map(({ example }) => example.ids));
        const cut = tailCut(lengths, share);
        const end = heldDocuments ? concatenate(heldDocuments.map(({ example }) => example.ids)) : stream.subarray(cut);
        train = windows(stream.subarray(0, cut), maxLength);
        held = windows(end, maxLength);
      } else {
        const fitted = fit(documents, maxLength, tooLong, model).examples;
        const tail = heldOut(fitted.length, share);
        train = fitted.slice(0, fitted.length - tail);
        held = heldDocuments
          ? fit(heldDocuments, maxLength, tooLong, model).examples
          : fitted.slice(fitted.length - tail);
        if (packing === 'documents') {
          train = pack(train, maxLength);
          held = pack(held, maxLength);
        }
      }
      if (train.length === 0) {
        throw new LftError('data-empty', `${path} has too little text to learn from: fewer than two tokens`, { path });
      }

      return {
        train,
        validation: held,
        fingerprint: await filesFingerprint(path, validation, {
          tokenizer: tokenizer.fingerprint,
          options: recorded,
          seed,
          maxLength,
          train,
          validation: held,
        }),
        description: describe(path, documents.length, train, held, packing, maxLength),
      } satisfies Dataset;
    },
  };
}

function concatenate(arrays: readonly Int32Array[]): Int32Array {
  const whole = new Int32Array(arrays.reduce((sum, array) => sum + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    whole.set(array, at);
    at += array.length;
  }
  return whole;
}

/** Contiguous windows; a last one of a single token has nothing to predict and is left out. */
function windows(stream: Int32Array, length: number): Example[] {
  const examples: Example[] = [];
  for (let at = 0; at + 1 < stream.length; at += length) {
    const ids = stream.slice(at, at + length);
    const labels = ids.slice();
    labels[0] = IGNORED_LABEL;
    examples.push({ ids, labels });
  }
  return examples;
}

function describe(
  path: string,
  documents: number,
  train: readonly Example[],
  held: readonly Example[],
  packing: z.output<typeof schema>['packing'],
  maxLength: number,
): string {
  const number = (value: number) => value.toLocaleString('en-US');
  const tokens = (examples: readonly Example[]) => number(examples.reduce((sum, { ids }) => sum + ids.length, 0));
  const shape = { stream: 'windows', documents: 'packed rows', none: 'rows' }[packing];
  return `${number(documents)} ${documents === 1 ? 'document' : 'documents'} of ${basename(path)}; ${number(train.length)} ${shape} of up to ${number(maxLength)} tokens (${tokens(train)} tokens); ${number(held.length)} for validation (${tokens(held)} tokens)`;
}
