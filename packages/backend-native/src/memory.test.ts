import { fineTune, loadModel } from '@lft/core';
import { lora } from '@lft/lora';
import { tinyData, tinyModel } from '@lft/testing';
import * as tf from '@tensorflow/tfjs-core';
import { nativeProblem, useNative } from './index.js';
import { openAddon } from './load-addon.js';

const problem = nativeProblem();

(problem ? describe.skip : describe)('on the native backend', () => {
  beforeAll(() => useNative());

  test('a tensor larger than memory is an error, after which everything goes on', () => {
    const before = [openAddon().addon.bytesInUse(), tf.memory().numTensors];
    expect(() => tf.tidy(() => tf.add(tf.ones([2 ** 20, 1]), tf.ones([1, 2 ** 23])))).toThrow(/out of memory/);
    expect([openAddon().addon.bytesInUse(), tf.memory().numTensors]).toEqual(before);
    expect(tf.tidy(() => tf.sum(tf.matMul(tf.ones([4, 5]), tf.ones([5, 6]))).dataSync())).toEqual(
      new Float32Array([120]),
    );
  });

  test('200 steps of training leave no memory behind', async () => {
    const { addon } = openAddon();
    const usage = () => ({ bytes: addon.bytesInUse(), tensors: tf.memory().numTensors });
    const start = usage();
    const resident: number[] = [];
    const pooled: number[] = [];
    const { folder, dispose } = await tinyModel({ dtype: 'BF16' });
    const model = await loadModel(folder);
    const run = await fineTune({
      model,
      data: tinyData(),
      adapter: lora({ rank: 2, targets: 'all-linear' }),
      steps: 200,
      batchSize: 4,
      onProgress: (event) => {
        if (event.kind !== 'step') return;
        resident[event.step] = process.memoryUsage.rss();
        pooled[event.step] = addon.bytesPooled();
      },
    });
    run.dispose();
    await model.dispose();
    await dispose();
    expect(usage()).toEqual(start);
    expect(pooled[199]).toBe(pooled[99]);
    // What the addon does not count. V8's own growth is 4 to 7 MB; 100 steps whose values stayed would be 15 MB.
    expect(resident[199]! - resident[99]!).toBeLessThan(12e6);
  });
});

if (problem) test.skip(problem, () => undefined);
