import { z } from 'zod';

function isExpression(source: string): boolean {
  try {
    new RegExp(source);
    return true;
  } catch {
    return false;
  }
}

const regularExpression = z.string().refine(isExpression, { error: 'not a regular expression' });

/** A value by regular expression, in order. */
const patterns = (value: z.ZodNumber | z.ZodInt) =>
  z
    .record(z.string(), value)
    .refine((record) => Object.keys(record).every(isExpression), { error: 'a key is not a regular expression' })
    .default({});

const names = z.array(z.string().min(1)).min(1, 'an empty list names nothing');

/** Options of {@link lora}. The names are those of the field; the words in brackets are PEFT's, in adapter_config.json. */
export const loraOptions = z.object({
  rank: z
    .int('rank is a whole number of 1 or more')
    .min(1, 'rank is 1 or more')
    .default(8)
    .describe('Rank r of the update B·A [r].'),
  alpha: z
    .number()
    .positive('alpha is more than 0')
    .default(8)
    .describe(
      'The update is scaled by alpha / rank. It does not follow rank: double both to keep the scale [lora_alpha].',
    ),
  dropout: z
    .number()
    .min(0, 'dropout is at least 0')
    .lt(1, 'dropout is less than 1')
    .default(0)
    .describe(
      'Share of the input values that the update does not see in a training step; the frozen module sees all [lora_dropout].',
    ),
  rsLora: z.boolean().default(false).describe('Scale by alpha / √rank, which suits large ranks [use_rslora].'),
  init: z
    .enum(['kaiming', 'gaussian', 'random'])
    .default('kaiming')
    .describe(
      'kaiming: A uniform in ±1/√in, B zero [true]. gaussian: A normal with deviation 1/rank, B zero [gaussian]. random: B uniform in ±1/√rank as well, so that training does not start at the base model [false].',
    ),
  targets: z
    .union([z.literal('all-linear'), names, regularExpression], {
      error: 'a list of names or paths, "all-linear", or a regular expression',
    })
    .default(['q_proj', 'v_proj'])
    .describe(
      'Modules to adapt: a list of names or paths (the path itself, or its end after a dot), all-linear (every linear module but the head), or a regular expression on the whole path [target_modules].',
    ),
  exclude: z
    .union([names, regularExpression], { error: 'a list of names or paths, or a regular expression' })
    .optional()
    .describe('Modules to leave as they are, by the same rules [exclude_modules].'),
  blocks: z
    .array(z.int().min(0))
    .min(1, 'an empty list names no block')
    .optional()
    .describe('Only these decoder blocks. Not with a regular expression in targets [layers_to_transform].'),
  blockPattern: z
    .union([regularExpression, z.array(regularExpression)], { error: 'a regular expression, or a list of them' })
    .optional()
    .describe(
      'Name of the list that blocks counts in, where a path holds several numbers; default the first number [layers_pattern].',
    ),
  rankPattern: patterns(z.int().min(1, 'a rank is 1 or more')).describe(
    "Other ranks by module: the key is a regular expression on the path's end, the first that matches wins [rank_pattern].",
  ),
  alphaPattern: patterns(z.number().positive('an alpha is more than 0')).describe(
    'Other alphas by module, by the same rule [alpha_pattern].',
  ),
  modulesToSave: names
    .optional()
    .describe('Modules to train in full and store beside the update; a name fits every path that ends in it.'),
  bias: z
    .literal('none', {
      error: 'only "none" is implemented: biases stay frozen; train a module in full with modulesToSave',
    })
    .default('none')
    .describe('Which biases train: none.'),
});

export type LoraOptions = z.input<typeof loraOptions>;

/** Options with the defaults filled in. */
export type ResolvedLoraOptions = z.output<typeof loraOptions>;
