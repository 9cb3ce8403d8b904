import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fineTune, loadModel } from '@lft/core';
import { lora } from '@lft/lora';
import { tinyData, tinyModel } from '@lft/testing';
import { nativeProblem, useNative } from './index.js';

const problem = nativeProblem();
const cores = availableParallelism();

(problem ? describe.skip : describe)('on the native backend', () => {
  test.each([0, -1, 1.5, Number.NaN, cores + 1])('%d threads are refused, with what would do', async (threads) => {
    await expect(useNative({ threads })).rejects.toMatchObject({
      code: 'options-invalid',
      message: `threads is ${threads}: this machine has ${cores} cores, so give 1 to ${cores}`,
    });
  });

  test.each(['f32', 'bf16'] as const)('a weight that is NaN ends training, in %s', async (precision) => {
    await useNative({ precision });
    const { folder, dispose } = await tinyModel({ dtype: 'BF16' });
    const file = path.join(folder, 'model.safetensors');
    const bytes = readFileSync(file);
    // The last weight of the last tensor.
    bytes.writeUInt16LE(0x7fc0, bytes.length - 2);
    writeFileSync(file, bytes);
    const model = await loadModel(folder);
    const run = fineTune({ model, data: tinyData(), adapter: lora({ rank: 2, targets: 'all-linear' }), steps: 4 });
    await expect(run).rejects.toMatchObject({ code: 'loss-not-finite' });
    await model.dispose();
    await dispose();
  });
});

if (problem) test.skip(problem, () => undefined);
