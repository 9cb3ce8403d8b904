import type { ProgressEvent } from '@lft/core';
import { countText, durationText, lossText, speedText } from '../terminal/numbers.js';
import type { Output } from '../terminal/output.js';
import { ProgressBar } from '../terminal/progress-bar.js';

type Start = Extract<ProgressEvent, { kind: 'start' }>;

/** Shows a run as it goes: a bar on a terminal, else a line for every tenth of the steps. */
export class ProgressPrinter {
  private bar: ProgressBar | undefined;
  private steps = 0;

  /** @param onStart prints what the run is going to do */
  constructor(
    private readonly output: Output,
    private readonly onStart: (event: Start) => void,
  ) {}

  handle(event: ProgressEvent): void {
    this.output.event(event);
    if (event.kind === 'start') this.start(event);
    else if (event.kind === 'step') this.step(event);
    else if (event.kind === 'evaluate') this.evaluate(event);
    else if (event.kind === 'notice') this.line(`  Note: ${event.message}`);
    else if (event.kind === 'probe') this.bar?.doing('asking the model for scores');
  }

  /** A line above the bar. */
  line(text: string): void {
    if (this.bar) this.bar.above(text);
    else this.output.line(text);
  }

  stop(): void {
    this.bar?.stop();
    this.bar = undefined;
  }

  private start(event: Start): void {
    this.steps = event.steps;
    this.onStart(event);
    if (this.output.live) this.bar = new ProgressBar(this.output, event.steps, event.step);
  }

  private step({ step, loss, tokensPerSecond, secondsLeft }: Extract<ProgressEvent, { kind: 'step' }>): void {
    const done = step + 1;
    if (this.bar) {
      this.bar.step(done, { loss, tokensPerSecond, secondsLeft });
      return;
    }
    const every = Math.max(1, Math.ceil(this.steps / 10));
    if (done % every !== 0 && done !== this.steps) return;
    const left = done === this.steps ? '' : `  ${durationText(secondsLeft)} left`;
    this.output.line(`  ${this.stepText(done)}  loss ${lossText(loss)}  ${speedText(tokensPerSecond)} tokens/s${left}`);
  }

  private evaluate({ step, done, of, loss }: Extract<ProgressEvent, { kind: 'evaluate' }>): void {
    if (loss === undefined) {
      this.bar?.doing(`evaluating ${countText(done)}/${countText(of)}`);
      return;
    }
    this.bar?.doing(undefined);
    this.line(`  ${this.stepText(step)}  held-out loss ${lossText(loss)} (${countText(of)} examples)`);
  }

  private stepText(step: number): string {
    const total = countText(this.steps);
    return `step ${countText(step).padStart(total.length)}/${total}`;
  }
}
