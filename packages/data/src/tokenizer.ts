import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { LftError } from '@lft/core';
import { z } from 'zod';

/** Text to token ids and back, as a Hugging Face folder describes it. */
export interface Tokenizer {
  /** The folder it was read from, as given. */
  readonly source: string;
  /** Highest token id + 1, added tokens included. */
  readonly vocabularySize: number;
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
  /** Ids that end a generation: the end-of-sequence token and what generation_config.json adds. */
  readonly stopTokenIds: readonly number[];
  /** Special tokens that the tokenizer puts before a text (BOS, mostly) when special tokens are added. */
  readonly startIds: readonly number[];
  /** The named special tokens' texts, as a chat template's variables: bos_token, eos_token, … */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** The texts of all added tokens marked special. */
  readonly specialTexts: readonly string[];
  /** Jinja text of chat_template.jinja, or of tokenizer_config.json. */
  readonly chatTemplate: string | undefined;
  /** SHA-256 of the tokenizer's files. */
  readonly fingerprint: string;
  /** @param options.addSpecialTokens default true: BOS and the like as the tokenizer's post-processor does */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  /**
   * Ids of a text that goes on after other text: no special tokens, and without the blank that SentencePiece-like tokenizers put
   * before a text. encode(a) followed by encodeContinuation(b) decodes to a + b.
   */
  encodeContinuation(text: string): number[];
  /** @param options.skipSpecialTokens default false */
  decode(ids: ArrayLike<number>, options?: { skipSpecialTokens?: boolean }): string;
}

const tokenText = z
  .union([z.string(), z.object({ content: z.string() }).transform((token) => token.content)])
  .nullish()
  .transform((token) => token ?? undefined);

const specialTokensSchema = z.object({
  bos_token: tokenText,
  eos_token: tokenText,
  unk_token: tokenText,
  pad_token: tokenText,
});

const configSchema = specialTokensSchema.extend({
  clean_up_tokenization_spaces: z.boolean().nullish(),
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});

const tokenId = z.int().nonnegative();
const generationSchema = z.object({
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish(),
  pad_token_id: tokenId.nullish(),
});

const tokenizerSchema = z.object({
  added_tokens: z.array(z.object({ id: tokenId, content: z.string(), special: z.boolean().optional() })).nullish(),
  model: z.object({ vocab: z.unknown() }),
});

/**
 * Reads a tokenizer: tokenizer.json, and, where they are, tokenizer_config.json, special_tokens_map.json, generation_config.json and
 * chat_template.jinja.
 * @throws LftError file-missing when there is no tokenizer.json; tokenizer-invalid when a file can't be understood
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const hash = createHash('sha256');
  const read = async (name: string) => {
    const content = await readFile(join(folder, name), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw new LftError('file-missing', `${join(folder, name)} can't be read: ${error.message}`, { folder, name });
    });
    if (content !== undefined) hash.update(`${name}\0${content.length}\0${content}`);
    return content;
  };

  const tokenizerText = await read('tokenizer.json');
  if (tokenizerText === undefined) throw await missing(folder);
  const tokenizerJson = parse(folder, 'tokenizer.json', tokenizerText, z.looseObject(tokenizerSchema.shape));
  const configText = (await read('tokenizer_config.json')) ?? '{}';
  const config = parse(folder, 'tokenizer_config.json', configText, z.looseObject(configSchema.shape));
  const special = parse(
    folder,
    'special_tokens_map.json',
    (await read('special_tokens_map.json')) ?? '{}',
    specialTokensSchema,
  );
  const jinja = await read('chat_template.jinja');
  const generation = parse(
    folder,
    'generation_config.json',
    (await read('generation_config.json')) ?? '{}',
    generationSchema,
  );

  let inner: HuggingFaceTokenizer;
  let vocabulary: Map<string, number>;
  try {
    inner = new HuggingFaceTokenizer(JSON.parse(tokenizerText), JSON.parse(configText));
    vocabulary = inner.get_vocab(true);
  } catch (error) {
    throw invalid(folder, 'tokenizer.json', (error as Error).message, error);
  }

  const specialTokens: Record<string, string> = {};
  for (const name of ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const) {
    const token = config[name] ?? special[name];
    if (token !== undefined) specialTokens[name] = token;
  }
  const idOf = (name: string) => {
    const token = specialTokens[name];
    if (token === undefined) return undefined;
    const id = inner.token_to_id(token);
    if (id === undefined) {
      throw invalid(folder, 'tokenizer_config.json', `${name} "${token}" is not in the vocabulary of tokenizer.json`);
    }
    return id;
  };
  const generationStops = [generation.eos_token_id ?? []].flat();
  const eosTokenId = idOf('eos_token') ?? generationStops[0];

  // The library cleans up blanks before punctuation unless told; Python's does it only where the file says so.
  const cleanUp = config.clean_up_tokenization_spaces ?? false;
  const encode = (text: string, addSpecialTokens: boolean): number[] =>
    text === '' && !addSpecialTokens ? [] : inner.encode(text, { add_special_tokens: addSpecialTokens }).ids;

  const withSpecial = encode('a', true);
  const plain = encode('a', false);
  const start = withSpecial.length > plain.length ? indexOfRun(withSpecial, plain) : 0;
  const newline = encode('\n', false);
  const putsBlankFirst = !startsWith(encode('\na', false).slice(-plain.length), plain);

  return {
    source: folder,
    vocabularySize: highest(vocabulary.values(), tokenizerJson.added_tokens?.map((token) => token.id) ?? []) + 1,
    bosTokenId: idOf('bos_token') ?? generation.bos_token_id ?? undefined,
    eosTokenId,
    padTokenId: idOf('pad_token') ?? generation.pad_token_id ?? undefined,
    stopTokenIds: [...new Set([...(eosTokenId === undefined ? [] : [eosTokenId]), ...generationStops])],
    startIds: start > 0 ? withSpecial.slice(0, start) : [],
    specialTokens,
    specialTexts: (tokenizerJson.added_tokens ?? []).filter((token) => token.special).map((token) => token.content),
    chatTemplate: jinja ?? configTemplate(config.chat_template),
    fingerprint: hash.digest('hex'),
    encode: (text, options = {}) => encode(text, options.addSpecialTokens ?? true),
    encodeContinuation(text) {
      if (text === '') return [];
      if (putsBlankFirst) {
        // A newline takes the blank and merges with nothing that follows (a byte token in these vocabularies).
        const anchored = encode(`\n${text}`, false);
        if (startsWith(anchored, newline)) return anchored.slice(newline.length);
      }
      return encode(text, false);
    },
    decode(ids, options = {}) {
      if (ids.length === 0) return '';
      return inner.decode(Array.from(ids), {
        skip_special_tokens: options.skipSpecialTokens ?? false,
        clean_up_tokenization_spaces: cleanUp,
      });
    },
  };
}

function configTemplate(template: z.output<typeof configSchema>['chat_template']): string | undefined {
  if (template === null || template === undefined || typeof template === 'string') return template ?? undefined;
  return (template.find((one) => one.name === 'default') ?? template[0])?.template;
}

function highest(...collections: Iterable<number>[]): number {
  let top = -1;
  for (const ids of collections) for (const id of ids) if (id > top) top = id;
  return top;
}

function startsWith(ids: readonly number[], run: readonly number[]): boolean {
  return run.length <= ids.length && run.every((id, i) => ids[i] === id);
}

function indexOfRun(ids: readonly number[], run: readonly number[]): number {
  for (let i = 0; i + run.length <= ids.length; i++) if (startsWith(ids.slice(i), run)) return i;
  return -1;
}

function parse<Schema extends z.ZodType>(
  folder: string,
  name: string,
  content: string,
  schema: Schema,
): z.output<Schema> {
  let json: unknown;
  try {
    json = JSON.parse(content);
  } catch (error) {
    throw invalid(folder, name, (error as Error).message, error);
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw invalid(folder, name, `${issue?.path.join('.') || 'the file'}: ${issue?.message}`);
}

function invalid(folder: string, name: string, what: string, cause?: unknown): LftError {
  return new LftError(
    'tokenizer-invalid',
    `${join(folder, name)} is no tokenizer file that can be read: ${what}. Download it again, or write it anew from Python: AutoTokenizer.from_pretrained(…).save_pretrained("${folder}")`,
    { folder, name },
    { cause },
  );
}

async function missing(folder: string): Promise<LftError> {
  const names = await readdir(folder).catch(() => undefined);
  if (!names) return new LftError('file-missing', `there is no folder ${folder} to read a tokenizer from`, { folder });
  const older = names.filter((name) => ['tokenizer.model', 'vocab.json', 'merges.txt'].includes(name));
  const remedy = older.length
    ? `it has ${older.join(' and ')} of the older form: write tokenizer.json from Python with AutoTokenizer.from_pretrained("${folder}").save_pretrained("${folder}")`
    : `copy tokenizer.json and tokenizer_config.json of the model into it; it has: ${names.sort().join(', ') || 'nothing'}`;
  return new LftError('file-missing', `${folder} has no tokenizer.json; ${remedy}`, { folder, names });
}
