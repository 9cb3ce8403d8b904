/**
 * Generation with a cache of keys and values, beside transformers: `npm run bench:generate -- --model FOLDER`. Prints tables.
 * The best of two rounds counts, with the sides in turn.
 */
import { Command } from 'commander';
import { runChild, THREADS } from './child.mjs';
import { judgePython } from './judge.mjs';
import { printSections } from './report.mjs';

const options = new Command('generate')
  .requiredOption('--model <folder>', 'Hugging Face folder of a Llama-like model')
  .option('--prompt <number>', 'tokens of the prompt', Number, 32)
  .option('--tokens <number>', 'new tokens, greedy', Number, 128)
  .option('--weights <formats...>', 'of f32, bf16, int8, nf4', ['bf16', 'f32', 'int8', 'nf4'])
  .option('--rounds <number>', 'runs of each', Number, 2)
  .option('--no-pytorch', 'this library alone')
  .parse()
  .opts();

const python = options.pytorch ? judgePython() : undefined;
const { model, prompt, tokens } = options;
const settings = { model, prompt, tokens, threads: THREADS };
const sides = [
  ...options.weights.map((weights) => ({ name: `lft ${weights}, native`, program: 'generate-ours.mjs', weights })),
  ...(python ? ['bf16', 'f32'] : []).map((weights) => ({
    name: `transformers ${weights}`,
    program: 'generate.py',
    weights,
    python,
  })),
];

const runs = new Map();
for (let round = 0; round < options.rounds; round++) {
  for (const { name, program, weights, python } of sides) {
    const run = await runChild(program, { ...settings, weights }, { python });
    console.log(`${name}: ${run.failed ?? `${run.tokensPerSecond.toFixed(1)} tokens/s`}`);
    const best = runs.get(name);
    if (!run.failed && !(best?.tokensPerSecond > run.tokensPerSecond)) runs.set(name, run);
  }
}

const reading = Math.max(...[...runs.values()].map((run) => run.readSpeed ?? 0));
const rows = [...runs].map(([name, run]) => {
  const bytes = run.bytesPerToken * run.tokensPerSecond;
  return [
    name,
    run.tokensPerSecond.toFixed(1),
    (1000 / run.tokensPerSecond).toFixed(1),
    `${(bytes / 1e9).toFixed(1)} GB/s`,
    reading > 0 ? `${Math.round((100 * bytes) / reading)} %` : '–',
    `${run.promptMilliseconds.toFixed(0)} ms`,
    run.peak.toFixed(0),
    run.others?.toFixed(1) ?? '–',
  ];
});
printSections([
  {
    title: `Generation: ${prompt} tokens of prompt, ${tokens} new ones, greedy, ${THREADS} threads`,
    head: [
      'setting',
      'tokens/s',
      'ms a token',
      'weights read',
      'of reading alone',
      'prompt',
      'peak MB',
      'others, cores',
    ],
    rows,
    notes: [`Reading the weights and nothing else: ${(reading / 1e9).toFixed(1)} GB/s.`],
  },
]);
