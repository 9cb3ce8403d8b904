import type { ProgressEvent, Run } from '@lft/core';
import type { OptionValues } from '../settings.js';
import { countText, lossText, shareText } from '../terminal/numbers.js';
import type { Output } from '../terminal/output.js';
import { ranked, rankingTable } from '../terminal/ranking.js';
import { facts, table } from '../terminal/tables.js';
import type { ResolvedRun } from './resolve-run.js';

/** What is about to happen, before the first step. */
export function plan(
  { model, adapter, selector, optimizer, training, out, record }: ResolvedRun,
  event: Extract<ProgressEvent, { kind: 'start' }>,
  output: Output,
): string {
  const { architecture, blocks } = event.model;
  const size = training.batchSize ?? 8;
  const passes = training.gradientAccumulation ?? 1;
  const batch = passes > 1 ? `${size} × ${passes} examples` : `${size} examples`;
  return facts(
    [
      ['model', `${model} (${architecture}, ${blocks} blocks, ${countText(event.total)} values)`],
      ['data', event.data],
      ['adapter', `${adapter.name}${optionText(record.settings.adapter)}`],
      ['trains', `${countText(event.trainable)} values, ${shareText(event.trainable / event.total)} of the model's`],
      [
        'selector',
        `${selector.name} over ${event.units} units (${selector.granularity})${optionText(record.settings.selector)}`,
      ],
      [
        'steps',
        `${countText(event.steps)} of ${batch}; ${optimizer.name}, learning rate ${optimizer.learningRate}, ${training.schedule ?? 'linear'}` +
          (event.step > 0 ? `; goes on at step ${countText(event.step)}` : ''),
      ],
      ['backend', event.backend],
      ['run', out],
    ],
    output,
  );
}

/** `, rank 8, alpha 16`: the options that were given; all of them are in config.json. */
function optionText({ name: _, ...options }: OptionValues): string {
  return Object.entries(options)
    .map(
      ([name, value]) =>
        `, ${name} ${Array.isArray(value) ? value.join(',') : typeof value === 'object' ? JSON.stringify(value) : value}`,
    )
    .join('');
}

/** What came of it: losses, and the ranking where there is one. */
export function results(run: Run, output: Output, most: number): string {
  const parts: string[] = [];
  const [before, after] = [run.evaluations[0], run.evaluations.at(-1)];
  const rows: string[][] = [];
  if (before && after && before !== after) {
    rows.push(comparison('held-out loss', before.loss, after.loss));
    rows.push(comparison('perplexity', Math.exp(before.loss), Math.exp(after.loss)));
  }
  const [first, last] = [run.losses[0], run.losses.at(-1)];
  if (first !== undefined && last !== undefined && run.losses.length > 1) {
    rows.push(comparison('training loss', first, last));
  }
  if (rows.length > 0) {
    const columns = [
      { title: '' },
      ...['before', 'after', 'change'].map((title) => ({ title, align: 'right' as const })),
    ];
    parts.push(table(columns, rows, output));
  }
  const importance = run.importance();
  if (importance) {
    parts.push(
      '',
      `  Layers by importance (${importance.method})`,
      rankingTable(ranked(importance.scores), output, most),
    );
  }
  return parts.join('\n');
}

function comparison(name: string, before: number, after: number): string[] {
  const change = before === 0 ? '' : `${after <= before ? '−' : '+'}${shareText(Math.abs(after / before - 1))}`;
  return [name, lossText(before), lossText(after), change];
}
