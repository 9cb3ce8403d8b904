import { LftError, nearestName } from '@lft/core';
import { z } from 'zod';

/** A value as it was typed: what it means is known when its schema is. */
export class FlagText {
  constructor(
    readonly flag: string,
    readonly text: string,
  ) {}
}

/** What a field takes, in the words of a help text. */
export interface FieldFacts {
  /** E.g. `integer`, `linear|cosine`, `list`. */
  readonly expects: string;
  readonly description: string;
  readonly default: unknown;
}

interface JsonSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
  readonly default?: unknown;
  readonly description?: string;
}

/** The fields of an object schema. By shape, not by class: a plugin may bring its own copy of zod. */
export function fieldsOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> {
  return (schema as { shape?: Record<string, z.ZodType> }).shape ?? {};
}

function jsonSchema(field: z.ZodType): JsonSchema {
  return z.toJSONSchema(field, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
}

export function fieldFacts(field: z.ZodType): FieldFacts {
  const schema = jsonSchema(field);
  return {
    expects: expectation(schema),
    description: schema.description ?? field.description ?? '',
    default: schema.default,
  };
}

function expectation(schema: JsonSchema): string {
  if (schema.const !== undefined) return String(schema.const);
  if (schema.enum) return schema.enum.join('|');
  if (schema.anyOf) return [...new Set(schema.anyOf.map(expectation))].join('|');
  if (schema.type === 'boolean') return 'true|false';
  if (schema.type === 'array') return 'list';
  if (schema.type === 'object') return 'json';
  if (schema.type === 'string') return 'text';
  return schema.type ?? 'value';
}

/** The texts that a field knows by name: enums and literals. */
function namedValues(schema: JsonSchema): unknown[] {
  return [schema.const, ...(schema.enum ?? []), ...(schema.anyOf ?? []).flatMap(namedValues)];
}

const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const WORDS = /^[\w./-]+(\s*,\s*[\w./-]+)*$/;

/** What a text may mean, the likeliest first. Words with commas are a list before they are a text; quotes make a text of anything. */
function* readings(text: string, schema: JsonSchema): Generator<unknown> {
  if (namedValues(schema).includes(text)) yield text;
  if (/^[[{"]/.test(text)) {
    try {
      yield JSON.parse(text);
    } catch {
      // Not JSON: perhaps a regular expression.
    }
  }
  if (NUMBER.test(text)) yield Number(text);
  if (text === 'true' || text === 'false') yield text === 'true';
  if (WORDS.test(text)) {
    const items = text.split(',').map((item) => item.trim());
    if (items.every((item) => NUMBER.test(item))) yield items.map(Number);
    yield items;
  }
  yield text;
}

/**
 * Reads a typed value by the schema of its field: numbers, true/false, comma lists, JSON.
 * @throws LftError options-invalid
 */
export function readValue({ flag, text }: FlagText, field: z.ZodType): unknown {
  const schema = jsonSchema(field);
  for (const reading of readings(text, schema)) if (field.safeParse(reading).success) return reading;
  const [first] = readings(text, schema);
  const { expects } = fieldFacts(field);
  const issue = field.safeParse(first).error?.issues[0];
  // Zod's words help where the kind is right and the value is not; otherwise what is expected says it better.
  const why =
    issue && !['invalid_type', 'invalid_union', 'invalid_value'].includes(issue.code) ? ` (${issue.message})` : '';
  const named = namedValues(schema).filter((value) => typeof value === 'string');
  const near = nearestName(text, named);
  throw new LftError(
    'options-invalid',
    `${flag} takes ${expects}, not "${text}"${why}${near ? `; did you mean "${near}"?` : ''}`,
    { flag, text, expects },
  );
}

/** Reads a typed value where no schema is at hand. */
export function guessValue({ text }: FlagText): unknown {
  if (NUMBER.test(text)) return Number(text);
  if (text === 'true' || text === 'false') return text === 'true';
  if (/^[[{"]/.test(text)) {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }
  return text;
}

/**
 * Reads the typed values among a plugin's options; others stay as they are.
 * @param where what the options belong to, as flags write it: `selector`
 * @throws LftError options-invalid, naming the nearest option
 */
export function readOptions(
  where: string,
  owner: string,
  options: Readonly<Record<string, unknown>>,
  schema: z.ZodType,
): Record<string, unknown> {
  const fields = fieldsOf(schema);
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => {
      if (!(value instanceof FlagText)) return [name, value];
      const field = fields[name];
      if (field) return [name, readValue(value, field)];
      const near = nearestName(name, Object.keys(fields));
      throw new LftError(
        'options-invalid',
        `${value.flag}: ${owner} has no option "${name}"${near ? `; did you mean --${where}.${near}?` : ''} There is: ${Object.keys(fields).join(', ')}`,
        { flag: value.flag, options: Object.keys(fields) },
      );
    }),
  );
}
