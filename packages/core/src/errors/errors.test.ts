import { z } from 'zod';
import { LftError } from './lft-error.js';
import { nearestName } from './nearest-name.js';
import { parseOptions } from './parse-options.js';

describe('LftError', () => {
  test('carries code, facts and cause', () => {
    const cause = new Error('inner');
    const error = new LftError('data-empty', 'nothing', { file: 'a' }, { cause });
    expect(error).toMatchObject({
      name: 'LftError',
      code: 'data-empty',
      message: 'nothing',
      facts: { file: 'a' },
      cause,
    });
    expect(error).toBeInstanceOf(Error);
  });

  test('is recognised across two copies of the library, and nothing else is', () => {
    const otherCopy = Object.assign(new Error('x'), { [Symbol.for('lft.error')]: true });
    expect(LftError.is(new LftError('data-empty', ''))).toBe(true);
    expect(LftError.is(otherCopy)).toBe(true);
    for (const other of [new Error(), null, undefined, 'lft', {}]) expect(LftError.is(other)).toBe(false);
  });
});

describe('nearestName', () => {
  const names = ['q_proj', 'k_proj', 'v_proj', 'embed_tokens'];
  test.each([
    ['q_porj', 'q_proj'],
    ['Q_PROJ', 'q_proj'],
    ['embed_token', 'embed_tokens'],
    ['embedtokens', 'embed_tokens'],
    ['v_proj', 'v_proj'],
  ])('%s means %s', (given, meant) => expect(nearestName(given, names)).toBe(meant));
  test.each(['lm_head', 'zzz'])('%s means none of them', (given) => expect(nearestName(given, names)).toBeUndefined());
  test('ties go to the first', () => expect(nearestName('x_proj', names)).toBe('q_proj'));
  test('of no names, none', () => expect(nearestName('a', [])).toBeUndefined());
});

describe('parseOptions', () => {
  const schema = z.object({ rank: z.number().int().positive().default(8), targets: z.array(z.string()).optional() });
  const failure = (options: unknown, of: z.ZodType = schema) => {
    try {
      parseOptions('lora', of, options);
    } catch (error) {
      return error as LftError;
    }
    throw new Error('no error');
  };

  test('fills in the defaults, also of nothing', () => {
    expect(parseOptions('lora', schema, {})).toEqual({ rank: 8 });
    expect(parseOptions('lora', schema, undefined)).toEqual({ rank: 8 });
  });

  test('a misspelt option is named with the one that was meant', () => {
    const error = failure({ rnak: 4 });
    expect(error.code).toBe('options-invalid');
    expect(error.message).toBe('lora: unknown option "rnak": did you mean "rank"?');
  });

  test('an option that is near to none is named with all there are', () => {
    expect(failure({ temperature: 4 }).message).toMatch(/unknown option "temperature"; there is: rank, targets/);
  });

  test('every problem is named with its path', () => {
    const { message, facts } = failure({ rank: -1, targets: ['a', 3] });
    expect(message).toMatch(/^lora: rank: .*; targets\.1: /);
    expect(facts).toMatchObject({ where: 'lora' });
  });

  test('something that is no object is an error', () => {
    expect(failure('rank=3').message).toMatch(/^lora: options: /);
  });

  test('a schema with a check over several options refuses unknown keys too', () => {
    expect(
      failure(
        { rnak: 4 },
        schema.superRefine(() => {}),
      ).message,
    ).toMatch(/did you mean "rank"/);
  });
});
