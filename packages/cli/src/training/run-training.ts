import { existsSync } from 'node:fs';
import path from 'node:path';
import { AdaptedModel, type CausalModel, fineTune, generate, LftError, loadModel } from '@lft/core';
import { loadTokenizer, type Tokenizer } from '@lft/data';
import { type Sample, writeReport } from '@lft/report';
import { startBackend } from '../backends.js';
import { type Interrupt, onInterrupt } from '../interrupt.js';
import { promptIds } from '../prompt.js';
import { countText } from '../terminal/numbers.js';
import type { Output } from '../terminal/output.js';
import { facts } from '../terminal/tables.js';
import { ProgressPrinter } from './progress-printer.js';
import type { ResolvedRun } from './resolve-run.js';
import { writeRunRecord } from './run-record.js';
import { plan, results } from './run-summary.js';

/** Exit code of a run that Ctrl-C ended. */
export const INTERRUPTED = 130;

/**
 * Trains, shows it, and leaves adapter, ranking and report in the run folder.
 * @param mostRanked rows of the ranking that are printed
 * @returns the exit code
 */
export async function runTraining(resolved: ResolvedRun, output: Output, mostRanked: number): Promise<number> {
  const { out, samples } = resolved;
  refuseTakenFolder(resolved);
  let printer: ProgressPrinter | undefined;
  const interrupt = onInterrupt(() => {
    const text = 'Stopping after this step, with a checkpoint. Ctrl-C again to stop at once.';
    if (output.live && printer) printer.line(`  ${text}`);
    else output.note(text);
  });
  let model: CausalModel | undefined;
  try {
    await startBackend(resolved.backend);
    model = await loadModel(resolved.model, { weights: resolved.weights });
    const tokenizer = samples.length > 0 ? await loadTokenizer(resolved.model) : undefined;
    const before = tokenizer ? await withBase(model, (base) => answers(base, tokenizer, resolved, interrupt)) : [];

    printer = new ProgressPrinter(output, (event) => {
      // On resume the folder has it; a run that another program started gets none.
      if (!resolved.resume) writeRunRecord(out, resolved.record);
      output.line(plan(resolved, event, output));
      output.line();
    });
    const show = printer;
    const run = await fineTune({
      ...resolved.training,
      model,
      data: resolved.data,
      adapter: resolved.adapter,
      selector: resolved.selector,
      optimizer: resolved.optimizer,
      out,
      resume: resolved.resume,
      signal: interrupt.signal,
      onProgress: (event) => show.handle(event),
    }).finally(() => show.stop());

    try {
      if (run.interrupted) {
        return interrupted(resolved, run.steps, output);
      }
      const adapter = path.join(out, 'adapter');
      await run.save(adapter);
      const after = tokenizer ? await answers(run.model, tokenizer, resolved, interrupt) : [];
      const shown = samples.map((prompt, i): Sample => ({ prompt, before: before[i] ?? '', after: after[i] ?? '' }));
      const report = await writeReport(out, { samples: shown });
      const importance = run.importance() && path.join(out, 'importance.json');
      output.event({
        kind: 'done',
        steps: run.steps,
        validationLoss: { before: run.evaluations[0]?.loss ?? null, after: run.evaluations.at(-1)?.loss ?? null },
        ...(samples.length > 0 && { samples: shown }),
        adapter,
        importance: importance ?? null,
        report,
      });
      output.line();
      output.line(results(run, output, mostRanked));
      if (shown.length > 0) output.line(sampleText(shown, output));
      output.line();
      output.line(
        facts(
          [['adapter', adapter], ...(importance ? [['ranking', importance] as const] : []), ['report', report]],
          output,
        ),
      );
      return 0;
    } finally {
      run.dispose();
    }
  } finally {
    interrupt.release();
    await model?.dispose();
  }
}

function interrupted({ out, record }: ResolvedRun, steps: number, output: Output): number {
  const resume = `lft ${record.command} --resume --out ${quoted(out)}`;
  output.event({ kind: 'interrupted', steps, resume });
  output.line();
  output.line(
    `  Interrupted after ${countText(steps)} ${steps === 1 ? 'step' : 'steps'}; a checkpoint is saved. Go on with:`,
  );
  output.line();
  output.line(`    ${resume}`);
  return INTERRUPTED;
}

/** Before the model is read: the trainer would say the same, but after the data was prepared. */
function refuseTakenFolder({ out, record, resume }: ResolvedRun): void {
  if (resume || !existsSync(path.join(out, 'config.json'))) return;
  throw new LftError(
    'output-not-writable',
    `${out} holds a run already. Go on with it: lft ${record.command} --resume --out ${quoted(out)}, or give another --out. Nothing was changed.`,
    { folder: out },
  );
}

function quoted(folder: string): string {
  return /^[\w./@:+-]+$/.test(folder) ? folder : `'${folder.replaceAll("'", "'\\''")}'`;
}

async function withBase<Result>(model: CausalModel, use: (base: AdaptedModel) => Promise<Result>): Promise<Result> {
  const base = new AdaptedModel(model);
  try {
    return await use(base);
  } finally {
    base.dispose();
  }
}

/** The likeliest answers to the sample prompts. */
async function answers(
  model: AdaptedModel,
  tokenizer: Tokenizer,
  { samples, sampleTokens, promptForm }: ResolvedRun,
  { signal }: Interrupt,
): Promise<string[]> {
  const texts: string[] = [];
  for (const prompt of samples) {
    const ids = promptIds(tokenizer, prompt, promptForm);
    const stopIds = [...new Set([...tokenizer.stopTokenIds, ...model.base.info.eosTokenIds])];
    const answer = await generate(model, ids, { maxNewTokens: sampleTokens, stopIds, signal });
    const whole = tokenizer.decode([...ids, ...answer], { skipSpecialTokens: true });
    texts.push(whole.slice(tokenizer.decode(ids, { skipSpecialTokens: true }).length));
  }
  return texts;
}

function sampleText(samples: readonly Sample[], output: Output): string {
  return samples
    .map(({ prompt, before, after }) =>
      [
        '',
        facts(
          [
            ['prompt', prompt],
            ['before', before.trim()],
            ['after', after.trim()],
          ],
          output,
        ),
      ].join('\n'),
    )
    .join('\n');
}
