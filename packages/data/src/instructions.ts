import { basename } from 'node:path';
import { type DataSource, type Dataset, type Example, type Json, nearestName, parseOptions } from '@lft/core';
import { z } from 'zod';
import { encode, endOfSequence, learnedTokens } from './encode.js';
import { readRows } from './files/rows.js';
import { filesFingerprint } from './fingerprint.js';
import { type Fitted, fit } from './fit.js';
import { pack } from './packing.js';
import { shuffledSplit } from './split.js';
import { alpaca } from './templates/alpaca.js';
import { chat, chatRenderer } from './templates/chat.js';
import { type CustomTemplate, custom, customName } from './templates/custom.js';
import { plain } from './templates/plain.js';
import type { Template } from './templates/template.js';
import { loadTokenizer, type Tokenizer } from './tokenizer.js';
import { validationSchema } from './validation.js';
import { checkVocabulary } from './vocabulary.js';

const TEMPLATES = ['alpaca', 'plain', 'chat'] as const;

const schema = z
  .object({
    /** How a row becomes text; a function gives { prompt, response } of a row's fields. */
    template: z
      .custom<(typeof TEMPLATES)[number] | CustomTemplate>(
        (value) => typeof value === 'function' || TEMPLATES.includes(value as 'chat'),
        {
          error: ({ input }) => {
            const near = typeof input === 'string' ? nearestName(input, TEMPLATES) : undefined;
            return `must be ${TEMPLATES.map((name) => `'${name}'`).join(', ')} or a function, not ${JSON.stringify(input)}${near ? `; did you mean '${near}'?` : ''}`;
          },
        },
      )
      .default('alpaca'),
    /** Jinja text in place of the tokenizer's own chat template. */
    chatTemplate: z.string().optional(),
    lossOn: z.enum(['response', 'all']).default('response'),
    /** Share of the rows held out, or a file of its own. */
    validation: validationSchema.default(0.05),
    /** Takes only so many rows, from the top of the file. */
    limit: z.int().positive().optional(),
    /** Puts several rows into one of maxLength tokens; each still sees only itself. */
    packing: z.boolean().default(false),
    /** Rows longer than maxLength. */
    tooLong: z.enum(['error', 'truncate', 'skip']).default('error'),
  })
  .strict()
  .refine((options) => options.chatTemplate === undefined || options.template === 'chat', {
    path: ['chatTemplate'],
    message: "belongs to template: 'chat'",
  });

/** Options of {@link instructions}. */
export type InstructionsOptions = z.input<typeof schema>;

/**
 * Prompts and responses from a .jsonl, .ndjson or .json file. Rows are shuffled by the seed; the loss is taken on the responses and
 * the token that ends them.
 * @param path from the working directory
 * @throws LftError options-invalid at once; from `prepare`: file-missing, data-invalid (naming file:line), data-empty,
 *   tokenizer-invalid, vocabulary-mismatch, example-too-long, labels-masked
 */
export function instructions(path: string, options: InstructionsOptions = {}): DataSource {
  const parsed = parseOptions('instructions', schema, options);
  const { template, lossOn, validation, limit, packing, tooLong } = parsed;
  const name = typeof template === 'function' ? customName(template) : template;
  const recorded = Object.fromEntries(
    Object.entries({ ...parsed, template: name }).filter(([, value]) => value !== undefined),
  ) as { [option: string]: Json };

  return {
    options: { source: 'instructions', path, ...recorded },
    async prepare({ model, maxLength, seed }) {
      const tokenizer = await loadTokenizer(model.source);
      checkVocabulary(tokenizer, model);
      const render = rowTemplate(parsed, tokenizer);
      const read = async (file: string, rows?: number) => {
        const eos = endOfSequence(tokenizer, model);
        const located = (await readRows(file, rows)).map((row) => ({
          where: row.where,
          example: encode(render(row), tokenizer, eos, lossOn),
        }));
        return fit(located, maxLength, tooLong, model);
      };

      const main = await read(path, limit);
      const held = typeof validation === 'string' ? await read(validation) : undefined;
      const split = held
        ? { ...shuffledSplit(main.examples, 0, seed), validation: held.examples }
        : shuffledSplit(main.examples, validation as number, seed);
      const packed = (examples: readonly Example[]) => (packing ? pack(examples, maxLength) : examples);
      const train = packed(split.train);
      const validationExamples = packed(split.validation);

      return {
        train,
        validation: validationExamples,
        fingerprint: await filesFingerprint(path, validation, {
          tokenizer: tokenizer.fingerprint,
          options: recorded,
          seed,
          maxLength,
          train,
          validation: validationExamples,
        }),
        description: describe({ path, name, parsed, split, train, fitted: [main, ...(held ? [held] : [])], maxLength }),
      } satisfies Dataset;
    },
  };
}

function rowTemplate(options: z.output<typeof schema>, tokenizer: Tokenizer): Template {
  const { template, chatTemplate } = options;
  if (typeof template === 'function') return custom(template);
  if (template === 'alpaca') return alpaca;
  if (template === 'plain') return plain;
  return chat(chatRenderer(tokenizer, chatTemplate), tokenizer.specialTexts);
}

function describe(facts: {
  path: string;
  name: string;
  parsed: z.output<typeof schema>;
  split: { train: readonly Example[]; validation: readonly Example[] };
  train: readonly Example[];
  fitted: readonly Fitted[];
  maxLength: number;
}): string {
  const { path, name, parsed, split, train, fitted, maxLength } = facts;
  const number = (value: number) => value.toLocaleString('en-US');
  const sum = (of: (one: Fitted) => number) => fitted.reduce((total, one) => total + of(one), 0);
  const learned = split.train.reduce((total, example) => total + learnedTokens(example), 0);
  const held =
    typeof parsed.validation === 'string'
      ? `${number(split.validation.length)} of ${basename(parsed.validation)} for validation`
      : `${number(split.validation.length)} held out`;
  const notes = [
    `${number(split.train.length)} rows of ${basename(path)}, template ${name.split(' ', 2).join(' ')}`,
    held,
    `loss on ${parsed.lossOn === 'all' ? 'all tokens' : 'responses'} (${number(learned)} tokens)`,
  ];
  if (parsed.packing) notes.push(`packed into ${number(train.length)} rows of ${number(maxLength)}`);
  if (sum((one) => one.truncated)) notes.push(`${number(sum((one) => one.truncated))} truncated`);
  if (sum((one) => one.skipped)) notes.push(`${number(sum((one) => one.skipped))} too long and left out`);
  if (sum((one) => one.masked)) notes.push(`${number(sum((one) => one.masked))} with nothing to learn and left out`);
  return notes.join('; ');
}
