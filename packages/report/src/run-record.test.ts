import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LftError, writeImportance } from '@lft/core';
import { readRun } from './run-record.js';
import { istRun, lisaRun, removeSyntheticRuns, syntheticRun } from './testing/synthetic-run.js';

afterAll(removeSyntheticRuns);

const codeOf = async (action: Promise<unknown>) => {
  const error = await action.catch((reason: unknown) => reason);
  return LftError.is(error) ? error.code : error;
};

test('every line of a run becomes a record', async () => {
  const run = await readRun(await syntheticRun(istRun));
  expect(run.steps).toHaveLength(120);
  expect(run.timings).toHaveLength(120);
  expect(run.evaluations.map(({ step }) => step)).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]);
  expect(run.importance.map(({ step }) => step)).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]);
});

test('the final ranking is the last change of the scores', async () => {
  const { ranking, importance } = await readRun(await syntheticRun(istRun));
  expect(ranking?.method).toBe('ist');
  expect(Object.fromEntries(ranking!.scores)).toEqual(importance.at(-1)!.scores);
});

test('importance.json is the final ranking where it is there', async () => {
  const folder = await syntheticRun(istRun);
  const scores = new Map([['model.layers.2', 7]]);
  await writeImportance(
    join(folder, 'importance.json'),
    { method: 'other', granularity: 'block', scores },
    {
      model: { source: 'm', fingerprint: 'f' },
      adapter: { name: 'lora' },
      data: { fingerprint: 'd' },
      seed: 1,
      step: 120,
      units: [{ id: 'model.layers.2', block: 2 }],
    },
  );
  expect((await readRun(folder)).ranking).toEqual({ method: 'other', scores });
});

test('a run whose selector has no scores has no ranking', async () => {
  expect((await readRun(await syntheticRun(lisaRun))).ranking).toBeUndefined();
});

test('a torn last line is left out', async () => {
  const folder = await syntheticRun(istRun);
  await appendFile(join(folder, 'metrics.jsonl'), '{"step":120,"loss":1.7');
  await appendFile(join(folder, 'timings.jsonl'), '{"st');
  const run = await readRun(folder);
  expect([run.steps.length, run.timings.length]).toEqual([120, 120]);
});

test('of a step that is there twice the later line counts', async () => {
  const folder = await syntheticRun(istRun);
  const again = { step: 60, loss: 9, tokens: 1, learningRate: 0, gradientNorm: 0, active: ['model.layers.0'] };
  await appendFile(join(folder, 'metrics.jsonl'), `${JSON.stringify(again)}\n`);
  const { steps } = await readRun(folder);
  expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 120 }, (_, i) => i));
  expect(steps[60]!.loss).toBe(9);
});

test('a run that has not begun to train has no records', async () => {
  const folder = await syntheticRun(istRun);
  for (const name of ['metrics', 'timings', 'importance']) await rm(join(folder, `${name}.jsonl`));
  expect(await readRun(folder)).toMatchObject({ steps: [], evaluations: [], timings: [], importance: [] });
});

test('a folder that is no run says what is missing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lft-none-'));
  await expect(readRun(folder)).rejects.toThrow(/is not a run folder: it has no config.json/);
  expect(await codeOf(readRun(folder))).toBe('file-missing');
});

test('a folder that is not there is file-missing', async () => {
  await expect(readRun('/nowhere/at/all')).rejects.toThrow('there is no folder /nowhere/at/all');
});

test('a config.json of something else is config-invalid and says why', async () => {
  const folder = await syntheticRun(istRun);
  await writeFile(join(folder, 'config.json'), '{"version":1,"model_type":"llama"}');
  await expect(readRun(folder)).rejects.toThrow(/config\.json is not the configuration of a run \(model: /);
  expect(await codeOf(readRun(folder))).toBe('config-invalid');
});

test.each([
  ['is not JSON', '{"step":'],
  ['is not what a run writes', '{"step":0,"loss":"low"}'],
])('a damaged line before the last one is data-invalid with its number: %s', async (message, line) => {
  const folder = await syntheticRun(istRun);
  await writeFile(join(folder, 'metrics.jsonl'), `${line}\n{"step":0,"validationLoss":2}\n`);
  await expect(readRun(folder)).rejects.toThrow(new RegExp(`line 1 of .*metrics\\.jsonl ${message}`));
  expect(await codeOf(readRun(folder))).toBe('data-invalid');
});
