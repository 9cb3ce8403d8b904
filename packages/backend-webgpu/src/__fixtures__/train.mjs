/**
 * `node train.mjs BACKEND FIXTURE`: two steps on a fixture and a continuation, in a process of its own (the card's driver is chosen by
 * the environment of a process). Prints one JSON object.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { adamw, fineTune, full, generate, loadModel, useBackend } from '@lft/core';
import { loadLora } from '@lft/lora';
import * as tf from '@tensorflow/tfjs-core';
import { describeWebGpu, useWebGpu } from '../../dist/index.js';

const [backend, name] = process.argv.slice(2);
const fixtures = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../fixtures');
const fixture = JSON.parse(readFileSync(path.join(fixtures, name, 'fixture.json'), 'utf8'));

await (backend === 'webgpu' ? useWebGpu() : useBackend(backend));
const model = await loadModel(path.join(fixtures, fixture.base ?? name));
const train = fixture.input_ids.map((row, r) => {
  const length = fixture.attention_mask[r].lastIndexOf(1) + 1;
  return { ids: Int32Array.from(row.slice(0, length)), labels: Int32Array.from(fixture.labels[r].slice(0, length)) };
});
const norms = {};
const live = [];
let all;
const run = await fineTune({
  model,
  data: {
    options: {},
    prepare: async () => ({ train, validation: [], fingerprint: 'fixture', description: 'two rows' }),
  },
  adapter: fixture.base ? await loadLora(path.join(fixtures, name)) : full(),
  selector: {
    name: 'watcher',
    options: {},
    granularity: 'matrix',
    setup({ units }) {
      all = new Set(units.map(({ id }) => id));
    },
    select: () => all,
    observe({ step, gradientNorms }) {
      if (step === 0) Object.assign(norms, Object.fromEntries(gradientNorms));
    },
    importance: () => undefined,
    state: () => null,
    restore() {},
  },
  optimizer: adamw({ learningRate: 1e-3, weightDecay: 0.01 }),
  schedule: 'constant',
  clipNorm: 0,
  steps: 2,
  batchSize: 2,
  onProgress(event) {
    if (event.kind === 'step') live.push(tf.memory().numTensors);
  },
});
const { losses } = run;
const tokens = await generate(run.model, fixture.input_ids[0].slice(0, 4), { maxNewTokens: 2, stopIds: [] });
const device = backend === 'webgpu' ? describeWebGpu() : backend;
run.dispose();
await model.dispose();
console.log(JSON.stringify({ device, losses, norms, live, tokens: Array.from(tokens) }));
