import cliProgress from 'cli-progress';
import { countText, durationText, lossText, speedText } from './numbers.js';
import type { Output } from './output.js';

export interface StepFacts {
  readonly loss: number;
  readonly tokensPerSecond: number;
  readonly secondsLeft: number;
}

/** One line that is drawn over: step, bar, loss, speed, time left. It never wraps: the bar takes the room that is left. */
export class ProgressBar {
  private readonly bar: cliProgress.SingleBar;
  private facts: StepFacts | undefined;
  private activity: string | undefined;
  private shown = false;

  constructor(
    private readonly output: Output,
    private readonly total: number,
    private value: number,
  ) {
    this.bar = new cliProgress.SingleBar({
      stream: output.stdout as NodeJS.WritableStream,
      format: (_, { value }) => this.draw(value),
      hideCursor: true,
      clearOnComplete: true,
      forceRedraw: true,
      linewrap: false,
      fps: 8,
      gracefulExit: false,
    });
    this.show();
  }

  step(value: number, facts: StepFacts): void {
    this.facts = facts;
    this.activity = undefined;
    this.update(value);
  }

  /** What goes on between two steps; undefined when it is over. */
  doing(activity: string | undefined): void {
    this.activity = activity;
    this.update(this.value);
  }

  /** A line above the bar. */
  above(text: string): void {
    const shown = this.shown;
    this.stop();
    this.output.line(text);
    if (shown) this.show();
  }

  stop(): void {
    if (!this.shown) return;
    this.bar.stop();
    this.shown = false;
  }

  private show(): void {
    this.bar.start(this.total, this.value);
    this.shown = true;
  }

  private update(value: number): void {
    this.value = value;
    if (this.shown) this.bar.update(value);
  }

  private draw(value: number): string {
    const { color } = this.output;
    const counter = `${countText(value).padStart(countText(this.total).length)}/${countText(this.total)}`;
    const parts = this.activity ? [this.activity] : this.describe();
    const room = this.output.columns - 1;
    const fixed = (shown: readonly string[]) => counter.length + 3 + shown.join('  ').length + 2;
    while (parts.length > 1 && fixed(parts) + 8 > room) parts.pop();
    const width = Math.max(4, Math.min(30, room - fixed(parts)));
    const done = Math.round((width * value) / Math.max(1, this.total));
    const drawn = color.cyan('█'.repeat(done)) + color.dim('░'.repeat(width - done));
    return `  ${counter} ${drawn}  ${parts.join('  ')}`;
  }

  private describe(): string[] {
    if (!this.facts) return ['starting'];
    const { loss, tokensPerSecond, secondsLeft } = this.facts;
    return [`loss ${lossText(loss)}`, `${speedText(tokensPerSecond)} tokens/s`, `${durationText(secondsLeft)} left`];
  }
}
