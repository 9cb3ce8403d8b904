import { adamw, type CausalModel, fineTune, loadModel } from '@lft/core';
import { lora } from '@lft/lora';
import { type TinyModel, tinyData, tinyModel } from '@lft/testing';
import * as tf from '@tensorflow/tfjs-core';
import { whereInstalled } from './__testing__/where-installed.js';
import { nodeBackend } from './node-binding.js';
import { useTensorFlow } from './use-tensorflow.js';

whereInstalled('training on a bf16 model', () => {
  let folder: TinyModel;
  let model: CausalModel;
  beforeAll(async () => {
    await useTensorFlow();
    folder = await tinyModel({ blocks: 3, width: 16, inner: 24, dtype: 'BF16' });
    model = await loadModel(folder.folder);
  });
  afterAll(async () => {
    await model.dispose();
    await folder.dispose();
  });

  const train = async () => {
    const live: number[][] = [];
    const run = await fineTune({
      model,
      data: tinyData({ examples: 12, validation: 2 }),
      adapter: lora({ rank: 2, targets: 'all-linear' }),
      optimizer: adamw({ learningRate: 1e-2 }),
      steps: 8,
      batchSize: 3,
      maxLength: 12,
      seed: 4,
      onProgress(event) {
        if (event.kind === 'step') live.push([tf.memory().numTensors, nodeBackend().binding.getNumOfTensors()]);
      },
    });
    const { losses } = run;
    run.dispose();
    return { losses, live };
  };

  test('as many tensors live after every step, in the tensor library and in TensorFlow', async () => {
    const { live } = await train();
    expect(live).toHaveLength(8);
    expect(new Set(live.map(String)).size).toBe(1);
  });

  test('the same run gives the same losses to the last bit', async () => {
    expect((await train()).losses).toEqual((await train()).losses);
  });
});
