import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { alpacaPrompt, loadTokenizer } from '@lft/data';
import { PYTORCH_SETTINGS } from './cases.mjs';
import { runChild } from './child.mjs';
import { RANK } from './shapes.mjs';

const BATCH = 2;
const LENGTH = 256;
const HELD_OUT = 64;

/**
 * Trains on real rows with a real model on both sides, each from the start of the process to the saved adapter.
 * @returns the runs, those of this library first
 */
export async function runUserJob({ model, data, steps, backend, python, cache, threads }) {
  const folder = path.join(cache, 'user-job');
  mkdirSync(folder, { recursive: true });
  const files = await fittingRows({ model: path.resolve(model), data, count: BATCH * steps, folder });
  const settings = { model: path.resolve(model), ...files, steps, batch: BATCH, length: LENGTH, rank: RANK, threads };
  const out = (name) => {
    const adapter = path.join(folder, name);
    rmSync(adapter, { recursive: true, force: true });
    return adapter;
  };
  const results = [];
  for (const name of backend) {
    for (const weights of name === 'wasm' ? ['bf16'] : ['bf16', 'int8']) {
      console.log(`${steps} steps with lft ${weights}, ${name} ...`);
      const run = await runChild(
        'user-job.mjs',
        { ...settings, backend: name, weights, out: out(`lft-${name}-${weights}`) },
        { limitSeconds: 7200 },
      );
      results.push({ name: `lft ${weights}, ${name}`, ...run });
    }
  }
  for (const setting of python ? ['bf16-autocast', 'bf16-eager', 'bf16-compile'] : []) {
    console.log(`${steps} steps with ${PYTORCH_SETTINGS[setting]} ...`);
    const run = await runChild(
      'user-job.py',
      { ...settings, setting, out: out(setting) },
      { python, limitSeconds: 7200 },
    );
    results.push({ name: PYTORCH_SETTINGS[setting], ...run });
  }
  return { steps, rows: BATCH * steps, tokens: LENGTH, results };
}

/** The first rows that are short enough, as many as the steps take, so that both sides train on the same ones; and some held out. */
async function fittingRows({ model, data, count, folder }) {
  const tokenizer = await loadTokenizer(model);
  const fitting = [];
  for (const line of readFileSync(data, 'utf8').split('\n')) {
    if (fitting.length === count + HELD_OUT) break;
    if (!line.trim()) continue;
    const row = JSON.parse(line);
    // The end token and one that a continuation may add.
    if (row.output && tokenizer.encode(`${alpacaPrompt(row)}${row.output}`).length <= LENGTH - 2) fitting.push(line);
  }
  if (fitting.length < count + HELD_OUT) {
    throw new Error(
      `${data} has ${fitting.length} rows of at most ${LENGTH} tokens; the job takes ${count + HELD_OUT}: give more rows or fewer --steps`,
    );
  }
  const write = (name, lines) => {
    const file = path.join(folder, name);
    writeFileSync(file, `${lines.join('\n')}\n`);
    return file;
  };
  return {
    heldOut: write('held-out.jsonl', fitting.slice(0, HELD_OUT)),
    rows: write('rows.jsonl', fitting.slice(HELD_OUT)),
  };
}
