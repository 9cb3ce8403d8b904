/**
 * The main job on a real model, on wasm: logits beside transformers', then LoRA + IST, with time and peak memory.
 *
 *   npm run bench:real-model -- --model FOLDER --data alpaca.jsonl [--steps 30]
 *
 * With LFT_JUDGE_PYTHON (a Python that has torch and transformers) the logits are compared; without it that part is left out.
 */
import { execFileSync } from 'node:child_process';
import { AdaptedModel, adamw, fineTune, loadModel, useBackend } from '@lft/core';
import { alpacaPrompt, instructions, loadTokenizer } from '@lft/data';
import { ist } from '@lft/ist';
import { lora } from '@lft/lora';
import Table from 'cli-table3';
import { Command } from 'commander';

const JUDGE = `
import json, sys, torch
from transformers import AutoModelForCausalLM
torch.manual_seed(0)
ids = json.load(sys.stdin)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
with torch.no_grad():
    print(json.dumps(model(torch.tensor([ids])).logits[0, -1].tolist()))
`;

const options = new Command('real-model')
  .requiredOption('--model <folder>', 'Hugging Face folder of a Llama-like model')
  .requiredOption('--data <file>', 'rows with instruction, input and output (JSONL)')
  .option('--steps <number>', 'optimizer steps', Number, 30)
  .option('--batch-size <number>', 'rows a step', Number, 2)
  .option('--max-length <number>', 'longest row in tokens', Number, 256)
  .option('--learning-rate <number>', 'peak learning rate', Number, 5e-4)
  .option('--weights <format>', 'auto, f32, bf16, int8 or nf4', 'auto')
  .parse()
  .opts();

const table = new Table({ style: { head: [], border: [] } });
const seconds = (since) => ((performance.now() - since) / 1000).toFixed(1);

const started = performance.now();
await useBackend('wasm');
const model = await loadModel(options.model, { weights: options.weights });
table.push(['load', `${seconds(started)} s, weights ${options.weights}`]);

const tokenizer = await loadTokenizer(options.model);
const ids = tokenizer.encode(alpacaPrompt({ instruction: 'Give three tips for staying healthy.' }));
const judge = process.env.LFT_JUDGE_PYTHON;
if (judge) {
  const logits = new AdaptedModel(model).logits([ids]);
  const [rows] = await logits.array();
  logits.dispose();
  const ours = rows.at(-1);
  const theirs = JSON.parse(
    execFileSync(judge, ['-c', JUDGE, options.model], {
      input: JSON.stringify(ids),
      maxBuffer: 1 << 28,
      encoding: 'utf8',
    }),
  );
  const largest = Math.max(...theirs.map((value, id) => Math.abs(value - ours[id])));
  table.push([
    'logits beside transformers',
    `largest difference ${largest.toExponential(1)}, largest logit ${Math.max(...theirs.map(Math.abs)).toFixed(1)}`,
  ]);
}

let tokens = 0;
let stepSeconds = 0;
let last = 0;
const run = await fineTune({
  model,
  data: instructions(options.data, { template: 'alpaca', tooLong: 'skip', limit: 400 }),
  adapter: lora({ rank: 8, alpha: 16, targets: ['q_proj', 'v_proj'] }),
  selector: ist(),
  optimizer: adamw({ learningRate: options.learningRate }),
  steps: options.steps,
  batchSize: options.batchSize,
  maxLength: options.maxLength,
  evaluationExamples: 16,
  onProgress(event) {
    if (event.kind === 'start') last = performance.now();
    if (event.kind === 'evaluate' && event.loss !== undefined) {
      console.log(`held-out loss ${event.loss.toFixed(4)} after ${event.step} steps`);
      last = performance.now();
    }
    if (event.kind !== 'step') return;
    tokens += event.tokens;
    stepSeconds += (performance.now() - last) / 1000;
    last = performance.now();
    console.log(
      `step ${event.step + 1}/${event.steps}  loss ${event.loss.toFixed(4)}  ${event.tokensPerSecond.toFixed(1)} tokens/s  ${Math.round(event.secondsLeft)} s left`,
    );
  },
});
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const third = Math.max(1, Math.floor(run.losses.length / 3));
table.push(
  [
    'training loss, first and last third',
    `${mean(run.losses.slice(0, third)).toFixed(4)} → ${mean(run.losses.slice(-third)).toFixed(4)}`,
  ],
  ['held-out loss', run.evaluations.map(({ loss }) => loss.toFixed(4)).join(' → ')],
  [
    'speed',
    `${(tokens / stepSeconds).toFixed(1)} tokens/s, ${(stepSeconds / run.steps).toFixed(1)} s a step, importance rounds included`,
  ],
  ['peak memory', `${(process.resourceUsage().maxRSS / 1024 ** 2).toFixed(2)} GiB`],
  ['wall time', `${seconds(started)} s`],
);
console.log(table.toString());
