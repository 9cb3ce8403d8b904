import { z } from 'zod';
import { LftError } from './lft-error.js';
import { nearestName } from './nearest-name.js';

/**
 * Checks a plugin's options against its schema and fills in the defaults. Unknown keys are errors that name the nearest valid key.
 * @param where what the options belong to, e.g. `lora` or `selector ist`
 * @throws LftError options-invalid
 */
export function parseOptions<Schema extends z.ZodType>(
  where: string,
  schema: Schema,
  options: unknown,
): z.output<Schema> {
  const strict = schema instanceof z.ZodObject ? schema.strict() : schema;
  const result = strict.safeParse(options ?? {});
  if (result.success) return result.data as z.output<Schema>;
  const known = schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
  const problems = result.error.issues.map((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys
        .map((key) => {
          const near = nearestName(key, known);
          return `unknown option "${key}"${near ? `: did you mean "${near}"?` : `; there is: ${known.join(', ')}`}`;
        })
        .join('; ');
    }
    return `${issue.path.join('.') || 'options'}: ${issue.message}`;
  });
  throw new LftError('options-invalid', `${where}: ${problems.join('; ')}`, { where, options });
}
