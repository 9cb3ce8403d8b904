/**
 * What a user runs: LoRA on instruction rows, from the command to the adapter on disk: `node user-job.mjs JSON` with
 * { model, rows, heldOut, weights, backend, steps, batch, length, out }. The held-out loss is taken after the clock stopped.
 */
import { adamw, evaluateLoss, fineTune, loadModel } from '@lft/core';
import { instructions } from '@lft/data';
import { lora } from '@lft/lora';
import { startBackend } from './backend.mjs';
import { cpuSeconds, memoryMegabytes } from './process-usage.mjs';
import { RANK } from './shapes.mjs';

const settings = JSON.parse(process.argv[2]);
const now = () => performance.timeOrigin + performance.now();

await startBackend(settings.backend);
const model = await loadModel(settings.model, { weights: settings.weights });
const { format } = model.weight(model.sites.find(({ kind }) => kind === 'linear').path, 'weight');
if (format !== settings.weights)
  throw new Error(`no ${settings.weights} weights in this build: they were held as ${format}`);
let tokens = 0;
let firstStep;
const run = await fineTune({
  model,
  data: instructions(settings.rows, { template: 'alpaca', validation: settings.heldOut }),
  adapter: lora({ rank: RANK, alpha: 2 * RANK, targets: ['q_proj', 'v_proj'] }),
  optimizer: adamw({ learningRate: 5e-4 }),
  steps: settings.steps,
  batchSize: settings.batch,
  maxLength: settings.length,
  evaluationExamples: 0,
  onProgress(event) {
    if (event.kind !== 'step') return;
    firstStep ??= now();
    tokens += event.tokens;
  },
});
await run.save(settings.out);
const saved = now();
const peak = memoryMegabytes().peak;
const { loss } = await evaluateLoss(run.model, run.data.validation, { batchSize: settings.batch });
console.log(JSON.stringify({ saved, firstStep, tokens, peak, heldOutLoss: loss, cpu: cpuSeconds() }));
