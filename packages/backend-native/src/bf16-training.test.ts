import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { adamw, fineTune, full, loadModel, Parameter, useBackend } from '@lft/core';
import { tinyData, tinyModel } from '@lft/testing';
import * as tf from '@tensorflow/tfjs-core';
import { nativeProblem, useNative } from './index.js';

const problem = nativeProblem();

test('where a backend does not train bf16, full() says which does', async () => {
  await useBackend('cpu');
  const { folder, dispose } = await tinyModel({ dtype: 'BF16' });
  const model = await loadModel(folder);
  const run = fineTune({ model, data: tinyData(), adapter: full({ weights: 'bf16' }), steps: 1 });
  await expect(run).rejects.toThrow(/in bf16 on the native backend only; the current one is cpu/);
  await model.dispose();
  await dispose();
});

(problem ? describe.skip : describe)('weights that train in bf16', () => {
  beforeAll(() => useNative());

  // Odd: the last vector is not whole.
  const COUNT = 20_011;

  function stepped(
    start: number,
    gradient: number,
    steps: number,
    learningRate: number,
    variant: 'torch' | 'hf_legacy',
  ) {
    const parameter = new Parameter('p', tf.fill([1, COUNT], start), 'bf16');
    parameter.assign(tf.fill([1, COUNT], start));
    const optimizer = adamw({ weightDecay: 0.01, variant });
    const g = tf.fill([1, COUNT], gradient);
    for (let i = 0; i < steps; i++) optimizer.step([{ parameter, gradient: g }], learningRate);
    const second = [...optimizer.state().tensors.values()][1]!.dataSync();
    const values = parameter.variable.dataSync();
    expect(optimizer.bytes()).toBe(2 * 2 * COUNT);
    optimizer.dispose();
    parameter.dispose();
    g.dispose();
    return { values, second };
  }
  const mean = (x: ArrayLike<number>) => Array.from(x).reduce((sum, value) => sum + value, 0) / x.length;

  test.each(['torch', 'hf_legacy'] as const)(
    'steps far below the last bit of a value add up to what AdamW says, %s',
    (variant) => {
      // A step is 1/40 of the distance of bf16 near 1, and the second moment's 1/1000 a quarter of its own at most.
      const [learningRate, steps] = [1e-4, 60];
      const { values, second } = stepped(1, 0.5, steps, learningRate, variant);
      const expected = 1 - steps * learningRate * (1 + 0.01);
      // The deviation of a value is below 60^½/2 steps of rounding; of the mean of 20 thousand a hundredth of that.
      expect(mean(values)).toBeCloseTo(expected, 3);
      expect(Math.abs(mean(values) - expected)).toBeLessThan(3e-4);
      const v = 0.25 * (1 - 0.999 ** steps);
      expect(Math.abs(mean(second) / v - 1)).toBeLessThan(2e-3);
      expect(new Set(values).size).toBeGreaterThan(2);
      const bits = new Uint32Array(new Float32Array(values).buffer);
      expect(bits.every((value) => (value & 0xffff) === 0)).toBe(true);
    },
  );

  test('the same steps give the same bits', () => {
    expect(stepped(0.3, -0.1, 3, 1e-3, 'torch')).toEqual(stepped(0.3, -0.1, 3, 1e-3, 'torch'));
  });

  test('a run learns as one in f32 does, and goes on from a checkpoint with the same bits', async () => {
    const out = mkdtempSync(path.join(tmpdir(), 'lft-bf16-'));
    const { folder, dispose } = await tinyModel({ dtype: 'BF16' });
    const model = await loadModel(folder);
    const train = async (weights: 'f32' | 'bf16', name: string, { stopAfter = 12, resume = false } = {}) => {
      const losses: number[] = [];
      const stop = new AbortController();
      const run = await fineTune({
        model,
        data: tinyData(),
        adapter: full({ weights }),
        optimizer: adamw({ learningRate: 2e-3 }),
        schedule: 'constant',
        clipNorm: 0,
        batchSize: 4,
        steps: 12,
        evaluationExamples: 0,
        signal: stop.signal,
        out: path.join(out, name),
        resume,
        onProgress: (event) => {
          if (event.kind === 'step') losses.push(event.loss);
          if (losses.length === stopAfter) stop.abort();
        },
      });
      const values = run.model.parameters.filter(({ made }) => made).map(({ variable }) => variable.dataSync());
      run.dispose();
      return { losses, values };
    };
    const whole = await train('bf16', 'whole');
    const f32 = await train('f32', 'f32');
    const fall = (losses: number[]) => losses[0]! - mean(losses.slice(-3));
    expect(fall(f32.losses)).toBeGreaterThan(0.05);
    expect(Math.abs(fall(whole.losses) / fall(f32.losses) - 1)).toBeLessThan(0.1);
    await train('bf16', 'parts', { stopAfter: 6 });
    const parts = await train('bf16', 'parts', { resume: true });
    expect(parts.values).toEqual(whole.values);
    await model.dispose();
    await dispose();
    rmSync(out, { recursive: true });
  });
});

if (problem) test.skip(problem, () => undefined);
