import { adamwOptions, fixedOptions } from '@lft/core';
import { loraOptions } from '@lft/lora';
import { z } from 'zod';
import { takeDottedFlags } from './dotted-flags.js';
import { FlagText, fieldFacts, guessValue, readValue } from './option-values.js';

const read = (text: string, field: z.ZodType) => readValue(new FlagText('--x', text), field);

test.each<[string, z.ZodType, unknown]>([
  ['8', loraOptions.shape.rank, 8],
  ['2e-4', adamwOptions.shape.learningRate, 2e-4],
  ['true', loraOptions.shape.rsLora, true],
  ['q_proj,v_proj', loraOptions.shape.targets, ['q_proj', 'v_proj']],
  ['q_proj', loraOptions.shape.targets, ['q_proj']],
  ['all-linear', loraOptions.shape.targets, 'all-linear'],
  ['.*\\.(q|v)_proj', loraOptions.shape.targets, '.*\\.(q|v)_proj'],
  ['0,1, 2', loraOptions.shape.blocks, [0, 1, 2]],
  ['{"q_proj":4}', loraOptions.shape.rankPattern, { q_proj: 4 }],
  ['runs/a/importance.json', fixedOptions.shape.importance, 'runs/a/importance.json'],
  ['7', z.string(), '7'],
])('%s is read by its schema', (text, field, value) => {
  expect(read(text, field)).toEqual(value);
});

test('what fits no reading is refused in the words of the schema', () => {
  expect(() => read('x', loraOptions.shape.rank)).toThrow('--x takes integer, not "x"');
  expect(() => read('gausian', loraOptions.shape.init)).toThrow('did you mean "gaussian"?');
});

test('facts of a field for the help', () => {
  expect(fieldFacts(loraOptions.shape.targets)).toMatchObject({
    expects: 'all-linear|list|text',
    default: ['q_proj', 'v_proj'],
  });
});

test('without a schema numbers, booleans and JSON are guessed', () => {
  const guess = (text: string) => guessValue(new FlagText('--x', text));
  expect(['0.1', 'true', '[1]', 'held.jsonl', '[half'].map(guess)).toEqual([0.1, true, [1], 'held.jsonl', '[half']);
});

test('dotted flags are taken out of the arguments', () => {
  const { dotted, rest } = takeDottedFlags([
    '--steps',
    '3',
    '--adapter.rs-lora',
    '--selector.active=2',
    '--data.limit',
    '5',
    'x',
  ]);
  expect(rest).toEqual(['--steps', '3', 'x']);
  expect(dotted).toEqual({
    data: { limit: new FlagText('--data.limit', '5') },
    adapter: { rsLora: new FlagText('--adapter.rs-lora', 'true') },
    selector: { active: new FlagText('--selector.active', '2') },
    optimizer: {},
  });
});
