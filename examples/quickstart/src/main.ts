import path from 'node:path';
import { AdaptedModel, adamw, fineTune, fixed, full, generate, LftError, loadModel } from '@lft/core';
import { alpacaPrompt, chatRenderer, instructions, loadTokenizer, type Tokenizer, text } from '@lft/data';
import { ist } from '@lft/ist';
import { lora } from '@lft/lora';
import { writeReport } from '@lft/report';
import { type QuickstartOptions, readOptions } from './options.js';
import { heading, printLosses, printRanking, printSample, progressView } from './terminal.js';

async function main(options: QuickstartOptions): Promise<number> {
  heading('1. The model, before');
  const model = await loadModel(options.model);
  const tokenizer = await loadTokenizer(options.model);
  const prompt = promptText(options, tokenizer);
  const before = await answer(new AdaptedModel(model), tokenizer, prompt);
  printSample('It writes:', prompt.shown, before);

  heading('2. Training');
  const data =
    options.template === 'text'
      ? text(options.data, { separator: '\n\n', packing: 'documents', tooLong: 'truncate' })
      : instructions(options.data, { template: options.template, tooLong: 'skip' });
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  const started = performance.now();
  const run = await fineTune({
    model,
    data,
    adapter:
      options.adapter === 'full'
        ? full()
        : lora({ rank: options.rank, alpha: 2 * options.rank, targets: 'all-linear' }),
    selector: options.selector === 'ist' ? ist({ active: 0.4 }) : fixed(),
    optimizer: adamw({ learningRate: options.learningRate }),
    steps: options.steps,
    batchSize: options.batchSize,
    maxLength: options.maxLength,
    warmupSteps: Math.min(5, options.steps - 1),
    seed: options.seed,
    out: options.out,
    signal: stop.signal,
    onProgress: progressView(),
  });
  if (run.interrupted) {
    console.log(
      `\n  Stopped after step ${run.steps}. The checkpoint is in ${path.relative('.', options.out)}/checkpoints.`,
    );
    return 130;
  }
  console.log(`  ${((performance.now() - started) / 1000).toFixed(0)} s in all`);

  heading('3. The model, after');
  const after = await answer(run.model, tokenizer, prompt);
  printSample('It writes:', prompt.shown, after);

  heading('4. Loss on held-out text');
  printLosses(run.evaluations);

  const importance = run.importance();
  if (importance) {
    heading('5. Which layers mattered');
    printRanking(importance);
  }

  const adapter = path.join(options.out, 'adapter');
  await run.save(adapter);
  const report = await writeReport(options.out, { samples: [{ prompt: prompt.shown, before, after }] });
  heading('Saved');
  console.log(
    `  adapter  ${path.relative('.', adapter)}${options.adapter === 'lora' ? '  (PEFT, transformers and llama.cpp load it)' : ''}`,
  );
  console.log(`  report   ${path.relative('.', report)}  (open it in a browser)`);
  run.dispose();
  await model.dispose();
  return 0;
}

interface Prompt {
  /** What the reader sees. */
  readonly shown: string;
  readonly ids: number[];
}

function promptText({ template, prompt }: QuickstartOptions, tokenizer: Tokenizer): Prompt {
  if (template === 'chat') {
    const rendered = chatRenderer(tokenizer)([{ role: 'user', content: prompt }], { addGenerationPrompt: true });
    return { shown: `${prompt}\n`, ids: tokenizer.encode(rendered, { addSpecialTokens: false }) };
  }
  if (template === 'alpaca')
    return { shown: `${prompt}\n`, ids: tokenizer.encode(alpacaPrompt({ instruction: prompt })) };
  return { shown: prompt, ids: tokenizer.encode(prompt) };
}

async function answer(model: AdaptedModel, tokenizer: Tokenizer, prompt: Prompt): Promise<string> {
  const ids = await generate(model, prompt.ids, {
    maxNewTokens: 96,
    temperature: 0.7,
    topP: 0.9,
    seed: 1,
    stopIds: tokenizer.stopTokenIds,
  });
  return tokenizer
    .decode([...prompt.ids, ...ids], { skipSpecialTokens: true })
    .slice(tokenizer.decode(prompt.ids, { skipSpecialTokens: true }).length);
}

try {
  process.exitCode = await main(readOptions(process.argv.slice(2)));
} catch (error) {
  console.error(LftError.is(error) ? `\nerror: ${(error as Error).message}` : error);
  process.exitCode = 1;
}
