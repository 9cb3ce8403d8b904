import type { Evaluation, Importance, ProgressEvent } from '@lft/core';
import { Presets, SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import pc from 'picocolors';

export function heading(text: string): void {
  console.log(`\n${pc.bold(text)}`);
}

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Shows a run as it goes: a bar on a terminal, a line now and then elsewhere. */
export function progressView(): (event: ProgressEvent) => void {
  const terminal = process.stdout.isTTY === true;
  const bar = new SingleBar(
    { format: '  {bar} {value}/{total}  loss {loss}  {speed} tokens/s  {left} left', hideCursor: true, barsize: 24 },
    Presets.shades_classic,
  );
  return (event) => {
    if (event.kind === 'start') {
      const share = ((100 * event.trainable) / event.total).toFixed(1);
      console.log(`  ${event.data}`);
      console.log(
        `  ${event.trainable.toLocaleString('en')} trainable values beside ${event.total.toLocaleString('en')} frozen ones (${share} %), backend ${event.backend}`,
      );
      if (event.backend === 'wasm' && process.platform === 'linux') {
        console.log(pc.dim('  With a C++ compiler, npm run build:native makes the next run several times faster.'));
      }
      return;
    }
    if (event.kind === 'evaluate' && event.loss !== undefined) {
      if (event.step > 0 && terminal) bar.stop();
      console.log(
        `  held-out loss ${event.step === 0 ? 'before' : `after ${event.step} steps`}: ${pc.bold(event.loss.toFixed(3))}`,
      );
      return;
    }
    if (event.kind !== 'step') return;
    const shown = {
      loss: event.loss.toFixed(3),
      speed: Math.round(event.tokensPerSecond).toLocaleString('en'),
      left: duration(event.secondsLeft),
    };
    if (terminal) {
      if (event.step === 0) bar.start(event.steps, 0, shown);
      bar.update(event.step + 1, shown);
    } else if (event.step % Math.ceil(event.steps / 10) === 0) {
      console.log(
        `  step ${event.step + 1}/${event.steps}  loss ${shown.loss}  ${shown.speed} tokens/s  ${shown.left} left`,
      );
    }
  };
}

/** What the model wrote, indented. */
export function printSample(label: string, prompt: string, answer: string): void {
  console.log(`  ${pc.dim(label)}`);
  const lines = `${prompt}${pc.cyan(answer)}`.split('\n');
  for (const line of lines) console.log(`    ${line}`);
}

export function printRanking(importance: Importance): void {
  const rows = [...importance.scores].sort(([, a], [, b]) => b - a);
  const scores = rows.map(([, score]) => score);
  const low = Math.min(...scores);
  const span = Math.max(...scores) - low || 1;
  const table = new Table({
    head: ['rank', 'layer', 'importance', ''],
    style: { head: [], border: [] },
    colAligns: ['right', 'left', 'right', 'left'],
  });
  rows.forEach(([unit, score], i) => {
    table.push([i + 1, unit, score.toFixed(4), '█'.repeat(1 + Math.round((19 * (score - low)) / span))]);
  });
  console.log(table.toString());
}

export function printLosses(evaluations: readonly Evaluation[]): void {
  const before = evaluations[0];
  const after = evaluations.at(-1);
  if (!before || !after) return;
  const fall = ((100 * (before.loss - after.loss)) / before.loss).toFixed(1);
  console.log(`  ${before.loss.toFixed(3)} → ${pc.bold(after.loss.toFixed(3))}  (${fall} % lower)`);
}
