import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type CausalModel, fineTune, fixed, full, loadModel, schedule } from '@lft/core';
import { tinyData } from './tiny-data.js';
import { type TinyModel, tinyModel } from './tiny-model.js';

let folder: TinyModel;
let model: CausalModel;
let temporary = '';

beforeAll(async () => {
  folder = await tinyModel({ width: 8, inner: 8 });
  model = await loadModel(folder.folder);
  temporary = mkdtempSync(path.join(os.tmpdir(), 'lft-runs-'));
});
afterAll(async () => {
  await model.dispose();
  await folder.dispose();
  rmSync(temporary, { recursive: true, force: true });
});

test('a run without a folder takes the state that it offloaded away again', async () => {
  const spy = jest.spyOn(os, 'tmpdir').mockReturnValue(temporary);
  let most = 0;
  const run = await fineTune({
    model,
    data: tinyData({ examples: 4 }),
    adapter: full(),
    selector: schedule([{ until: 1, selector: fixed({ first: 1 }) }, { selector: fixed({ last: 1 }) }]),
    optimizerState: 'offload',
    steps: 3,
    onProgress: () => {
      most = Math.max(most, readdirSync(temporary).length);
    },
  });
  run.dispose();
  spy.mockRestore();
  expect([most, readdirSync(temporary)]).toEqual([1, []]);
});
