import pc from 'picocolors';

/** A stream that text is written to; a terminal says how wide it is. */
export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

type Colors = ReturnType<typeof pc.createColors>;

/** Widest text: longer lines are hard to read, and a file has no width. */
const WIDEST = 100;

/** Where a command writes: text for people, or with --json one object a line and nothing else. */
export class Output {
  readonly color: Colors;

  constructor(
    readonly stdout: TextStream,
    private readonly stderr: TextStream,
    readonly json: boolean,
  ) {
    this.color = pc.createColors(Boolean(stdout.isTTY) && pc.isColorSupported && !json);
  }

  /** True when lines can be drawn over. */
  get live(): boolean {
    return Boolean(this.stdout.isTTY) && !this.json;
  }

  get columns(): number {
    return Math.max(40, Math.min(this.stdout.columns ?? 80, WIDEST));
  }

  /** For people. */
  line(text = ''): void {
    if (!this.json) this.stdout.write(`${text}\n`);
  }

  /** Text as it comes, without a line end. */
  text(text: string): void {
    if (!this.json) this.stdout.write(text);
  }

  /** For programs: a line on stdout with --json. */
  event(value: unknown): void {
    if (this.json) this.stdout.write(`${JSON.stringify(value)}\n`);
  }

  error(code: string, message: string, hint?: string): void {
    if (this.json) {
      this.stderr.write(`${JSON.stringify({ error: { code, message } })}\n`);
      return;
    }
    this.stderr.write(`${this.stderr.isTTY ? pc.red('error:') : 'error:'} ${message}\n`);
    if (hint) this.stderr.write(`${hint}\n`);
  }

  /** Beside the output: does not mix with --json. */
  note(text: string): void {
    this.stderr.write(`${text}\n`);
  }
}

/** Breaks text at blanks into lines of at most `width`. A longer word keeps a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return line === '' && lines.length > 0 ? lines : [...lines, line];
}
