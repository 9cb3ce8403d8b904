/**
 * `node train.mjs BACKEND FIXTURE`: two steps on a fixture and a continuation, in a process of its own (the card's driver is chosen by
 * the environment of a process). Prints one JSON object.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { adamw, fineTune, full, generate, loadModel, useBackend } from '@lft/core';
import { loadLora } from '@lft/lora';
import { gradientNormWatcher, unpaddedRows } from '@lft/testing';
import * as tf from '@tensorflow/tfjs-core';
import { describeWebGpu, useWebGpu } from '../../dist/index.js';

const [backend, name] = process.argv.slice(2);
const fixtures = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../fixtures');
const fixture = JSON.parse(readFileSync(path.join(fixtures, name, 'fixture.json'), 'utf8'));

await (backend === 'webgpu' ? useWebGpu() : useBackend(backend));
const model = await loadModel(path.join(fixtures, fixture.base ?? name));
const { selector, norms } = gradientNormWatcher();
const live = [];
const run = await fineTune({
  model,
  data: unpaddedRows(fixture),
  adapter: fixture.base ? await loadLora(path.join(fixtures, name)) : full(),
  selector,
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
console.log(JSON.stringify({ device, losses, norms: Object.fromEntries(norms), live, tokens: Array.from(tokens) }));
