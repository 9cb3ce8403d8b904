/**
 * What `prefixCache` saves: LoRA in the last blocks of a model, three epochs over the same rows, without the cache and with it.
 *
 *   npm run bench:prefix-cache -- --model FOLDER [--last 6] [--rows 16] [--length 256] [--batch-size 2] [--backend native]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { adamw, fineTune, fixed, loadModel } from '@lft/core';
import { tokenized } from '@lft/data';
import { lora } from '@lft/lora';
import Table from 'cli-table3';
import { Command } from 'commander';
import { BACKENDS, startBackend } from './backend.mjs';
import { RANK } from './shapes.mjs';
import { readRows, writeTokens } from './tokens.mjs';

const options = new Command('prefix-cache')
  .requiredOption('--model <folder>', 'Hugging Face folder of a Llama-like model')
  .option('--last <number>', 'blocks that train', Number, 6)
  .option('--rows <number>', 'rows of random tokens', Number, 16)
  .option('--length <number>', 'tokens in a row', Number, 256)
  .option('--batch-size <number>', 'rows a step', Number, 2)
  .option('--backend <name>', BACKENDS.join(', '), 'native')
  .parse()
  .opts();

await startBackend(options.backend);
const model = await loadModel(options.model);
const cache = mkdtempSync(path.join(tmpdir(), 'lft-bench-'));
const tokens = writeTokens(cache, model.info.vocabularySize);
const rows = readRows(tokens, options.length).slice(0, options.rows);
const perEpoch = Math.ceil(rows.length / options.batchSize);

/** Milliseconds of every step, and the losses. */
async function train(prefixCache) {
  const times = [];
  let began;
  const run = await fineTune({
    model,
    adapter: lora({ rank: RANK, alpha: 2 * RANK, targets: 'all-linear' }),
    selector: fixed({ last: options.last }),
    optimizer: adamw({ learningRate: 1e-4 }),
    schedule: 'constant',
    data: tokenized(rows.map((ids) => ({ ids }))),
    maxLength: options.length,
    batchSize: options.batchSize,
    epochs: 3,
    evaluationExamples: 0,
    prefixCache,
    onProgress(event) {
      const now = performance.now();
      if (event.kind === 'step') times.push(now - began);
      if (event.kind === 'notice') console.log(event.message);
      began = now;
    },
  });
  const { losses } = run;
  run.dispose();
  return { times, losses };
}

const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const least = (values) => Math.min(...values);
try {
  await train(0); // Warms up.
  const table = new Table({
    head: ['', 'epoch 1, ms a step', 'epochs 2 and 3, ms a step', 'least', 'last loss'],
    style: { head: [], border: [] },
  });
  const results = [0, 10].map((gigabytes) => [gigabytes > 0 ? 'with the cache' : 'without', gigabytes]);
  for (const [name, gigabytes] of results) {
    const { times, losses } = await train(gigabytes);
    const [first, later] = [times.slice(0, perEpoch), times.slice(perEpoch)];
    table.push([name, ...[middle(first), middle(later), least(later)].map(Math.round), losses.at(-1).toFixed(4)]);
  }
  const { blocks } = model.info;
  console.log(
    `${blocks} blocks, the last ${options.last} train; ${options.batchSize}×${options.length} tokens a step, ${options.backend}`,
  );
  console.log(table.toString());
} finally {
  rmSync(cache, { recursive: true });
}
