import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Importance } from '../contracts/importance.js';
import { LftError } from '../errors/lft-error.js';
import { aggregate } from './aggregate.js';
import { readImportance, writeImportance } from './importance-file.js';
import { cutRanking } from './ranking.js';

const folder = mkdtempSync(join(tmpdir(), 'lft-importance-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'importance.json');

const scores = new Map([
  ['model.layers.0.self_attn.q_proj', 0.5],
  ['model.layers.0.mlp.up_proj', 0.25],
  ['model.layers.1.self_attn.q_proj', 0.5],
  ['model.layers.1.mlp.up_proj', 1],
  ['lm_head', -1],
]);
const importance: Importance = { method: 'ila', granularity: 'module', scores };
const origin = {
  model: { source: 'models/m', fingerprint: 'abc' },
  adapter: { name: 'lora' },
  data: { fingerprint: 'def' },
  seed: 3,
  step: 40,
  units: [...scores.keys()].map((id) => ({ id, block: id === 'lm_head' ? undefined : Number(id.split('.')[2]) })),
};
const codeOf = (action: () => unknown) => {
  try {
    action();
  } catch (error) {
    return LftError.is(error) ? error.code : error;
  }
  return undefined;
};

test('what is written is read back, with ranks of which 1 is the most important', async () => {
  await writeImportance(path, importance, origin);
  const file = readImportance(path);
  expect([...file.scores]).toEqual([...scores]);
  expect(file.units.map((unit) => unit.rank)).toEqual([2, 4, 3, 1, 5]);
  expect(file.units[4]).toEqual({ id: 'lm_head', block: null, score: -1, rank: 5 });
  expect(file).toMatchObject({ format: 'lft-importance', version: 1, method: 'ila', step: 40, model: origin.model });
});

test('no temporary file stays behind', async () => {
  await writeImportance(path, importance, origin);
  expect(readdirSync(folder)).toEqual(['importance.json']);
});

test('a missing file is file-missing', () => {
  expect(codeOf(() => readImportance(join(folder, 'nothing.json')))).toBe('file-missing');
});

test.each<[string, (text: string) => string, RegExp]>([
  ['no JSON', () => '{', /is not JSON/],
  ['another format', (text) => text.replace('lft-importance', 'else'), /format: is not "lft-importance"/],
  ['a newer version', (text) => text.replace('"version": 1', '"version": 2'), /a newer release of lft wrote the file/],
  ['a missing score', (text) => text.replace(/"score": 1,/, ''), /units\.3\.score/],
  ['an id twice', (text) => text.replace('layers.1.mlp', 'layers.0.mlp'), /an id occurs twice/],
])('%s is importance-invalid and says where', async (name, spoil, message) => {
  await writeImportance(path, importance, origin);
  const spoiled = join(folder, `${name}.json`);
  writeFileSync(spoiled, spoil(readFileSync(path, 'utf8')));
  expect(() => readImportance(spoiled)).toThrow(message);
  expect(codeOf(() => readImportance(spoiled))).toBe('importance-invalid');
  rmSync(spoiled);
});

test('a score that is not finite is not written', async () => {
  const broken = { ...importance, scores: new Map([['lm_head', Number.NaN]]) };
  await expect(writeImportance(path, broken, origin)).rejects.toThrow(/the score of lm_head is NaN/);
});

test('a score of an unknown unit is not written', async () => {
  await expect(writeImportance(path, importance, { ...origin, units: [] })).rejects.toThrow(/the run does not have/);
});

test('modules become blocks by mean, sum, max and mean rank', async () => {
  const blocks = (by: 'mean' | 'sum' | 'max' | 'mean-rank') =>
    Object.fromEntries(aggregate(importance, 'block', by).scores);
  expect(blocks('mean')).toEqual({ 'model.layers.0': 0.375, 'model.layers.1': 0.75, lm_head: -1 });
  expect(blocks('sum')).toEqual({ 'model.layers.0': 0.75, 'model.layers.1': 1.5, lm_head: -1 });
  expect(blocks('max')).toEqual({ 'model.layers.0': 0.5, 'model.layers.1': 1, lm_head: -1 });
  expect(blocks('mean-rank')).toEqual({ 'model.layers.0': -3, 'model.layers.1': -2, lm_head: -5 });
  await writeImportance(path, importance, origin);
  expect(aggregate(readImportance(path)).granularity).toBe('block');
});

test('matrices and other families become blocks too', () => {
  const matrices = new Map([
    ['transformer.h.11.attn.c_attn.weight', 1],
    ['transformer.h.1.attn.c_attn.weight', 3],
  ]);
  const result = aggregate({ method: 'x', granularity: 'matrix', scores: matrices }, 'block', 'mean');
  expect([...result.scores.keys()]).toEqual(['transformer.h.11', 'transformer.h.1']);
});

test('freezing a quarter of 225 modules freezes 56, and keeping 0.75 keeps the other 169', () => {
  const of = (count: number) => ({ scores: new Map(Array.from({ length: count }, (_, i) => [`u${i}`, i])) });
  expect(cutRanking(of(225), { freeze: 0.25 })).toHaveLength(169);
  expect(cutRanking(of(225), { keep: 0.75 })).toHaveLength(169);
  expect(cutRanking(of(224), { freeze: 0.25 })).toHaveLength(168);
  expect(cutRanking(of(3), { keep: 0.1 })).toEqual(['u2']);
});

test('equal scores rank in forward order', () => {
  expect(
    cutRanking(
      {
        scores: new Map([
          ['a', 0],
          ['b', 0],
          ['c', 1],
        ]),
      },
      { top: 2 },
    ),
  ).toEqual(['c', 'a']);
});
