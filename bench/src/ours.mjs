/**
 * One case of this library, in a process of its own: `node ours.mjs JSON`. Prints one line of JSON.
 * The JSON: { folder, tokens, method, weights, batch, length, backend, warmup, least, seconds, interval, profile }.
 */
import { adamw, fineTune, full, loadModel } from '@lft/core';
import { tokenized } from '@lft/data';
import { ist } from '@lft/ist';
import { lora } from '@lft/lora';
import { startBackend } from './backend.mjs';
import { importPackage } from './import-package.mjs';
import { cpuSeconds, memoryMegabytes } from './process-usage.mjs';
import { IST_SHARE, LISA_ACTIVE, RANK } from './shapes.mjs';
import { readRows } from './tokens.mjs';

/** Milliseconds since the epoch, on a clock that never jumps. */
const now = () => performance.timeOrigin + performance.now();
const { method, weights, batch, length, warmup, least, seconds, interval, ...settings } = JSON.parse(process.argv[2]);

await startBackend(settings.backend);
const profiling = settings.profile ? await import('./op-profile.mjs') : undefined;

const started = now();
const model = await loadModel(settings.folder, { weights });
const load = now() - started;
const afterLoad = memoryMegabytes().now;
const { format } = model.weight(model.sites.find(({ kind }) => kind === 'linear').path, 'weight');
// A format that this build does not know must not pass for another.
if (format !== weights) throw new Error(`no ${weights} weights in this build: they were held as ${format}`);

// Weights that train in bf16 are compared with PyTorch's settings of f32 (autocast) and of bf16 weights and states.
const trained = weights === 'bf16' && settings.backend === 'native' ? 'bf16' : 'f32';
const everyLinear = () => ({ adapter: lora({ rank: RANK, alpha: 2 * RANK, targets: 'all-linear' }) });
const METHODS = {
  'lora-qv': () => ({ adapter: lora({ rank: RANK, alpha: 2 * RANK, targets: ['q_proj', 'v_proj'] }) }),
  'lora-all': everyLinear,
  full: () => ({ adapter: full({ weights: trained }) }),
  async lisa() {
    const { lisa } = await importPackage('@lft/lisa');
    return { adapter: full({ weights: trained }), selector: lisa({ active: LISA_ACTIVE, interval }) };
  },
  ist: () => ({ ...everyLinear(), selector: ist({ active: IST_SHARE, interval, examples: batch }) }),
};

const stop = new AbortController();
const steps = [];
const probes = [];
const losses = [];
let firstStep;
let began;
let probed = 0;
let measuring;
let profile;

await fineTune({
  model,
  ...(await METHODS[method]()),
  data: tokenized(readRows(settings.tokens, length).map((ids) => ({ ids }))),
  optimizer: adamw({ learningRate: 1e-4, weightDecay: 0.01 }),
  schedule: 'constant',
  clipNorm: 0,
  steps: 1000,
  batchSize: batch,
  maxLength: length,
  evaluationExamples: 0,
  signal: stop.signal,
  onProgress(event) {
    if (event.kind === 'start') began = now();
    if (event.kind === 'probe') probed = now();
    if (event.kind !== 'step') return;
    const end = now();
    firstStep ??= end;
    losses.push(event.loss);
    if (event.step >= warmup) {
      // The passes of the importance loop come first in their step; they are counted apart.
      const probe = Math.max(0, probed - began);
      if (probe > 0) probes.push(probe);
      steps.push(end - began - probe);
      const enough = steps.length >= least && (method !== 'ist' || probes.length > 0);
      if (enough && end - measuring >= 1000 * seconds) stop.abort();
    }
    if (event.step + 1 === warmup) {
      measuring = end;
      profile = profiling?.profileKernels();
    }
    began = now();
  },
});

console.log(
  JSON.stringify({
    steps,
    probes,
    loss: losses[0],
    load,
    firstStep,
    afterLoad,
    peak: memoryMegabytes().peak,
    cpu: cpuSeconds(),
    profile: profile?.(steps.length),
  }),
);
