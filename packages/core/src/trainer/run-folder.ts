import { appendFile, mkdir, readFile, stat, truncate } from 'node:fs/promises';
import path from 'node:path';
import type { Json } from '../contracts/json.js';
import { LftError } from '../errors/lft-error.js';
import { writeFileAtomic } from '../formats/atomic-write.js';
import { outputError } from '../formats/output-error.js';

/** The files of a run that grow line by line. */
const LOGS = ['metrics', 'importance', 'timings'] as const;
export type LogName = (typeof LOGS)[number];

/** Bytes of each log at a checkpoint: what came after is cut off on resume. */
export type LogSizes = Readonly<Record<LogName, number>>;

/**
 * The folder of one training run: `config.json`, `metrics.jsonl` (a line a step; no clock in it, so that equal runs give equal bytes),
 * `importance.jsonl` (a line a change), `timings.jsonl`, `checkpoints/`.
 */
export class RunFolder {
  constructor(readonly path: string) {}

  get configFile(): string {
    return path.join(this.path, 'config.json');
  }

  /** Makes the folder, before time goes into loading data. @throws LftError output-not-writable, also when a run lies here already */
  async claim(): Promise<void> {
    try {
      await mkdir(path.join(this.path, 'checkpoints'), { recursive: true });
    } catch (error) {
      throw outputError(this.path, error);
    }
    if (await this.exists()) {
      throw new LftError(
        'output-not-writable',
        `${this.path} holds a run already: go on with it (--resume, resume: true), or choose another folder. Nothing was changed.`,
        { folder: this.path },
      );
    }
  }

  /** Starts the run. @throws LftError output-not-writable */
  async create(config: Json): Promise<void> {
    await writeFileAtomic(this.configFile, `${JSON.stringify(config, null, 2)}\n`);
  }

  async exists(): Promise<boolean> {
    return stat(this.configFile).then(
      () => true,
      () => false,
    );
  }

  async readConfig(): Promise<unknown> {
    try {
      return JSON.parse(await readFile(this.configFile, 'utf8'));
    } catch (cause) {
      throw new LftError(
        'checkpoint-invalid',
        `${this.configFile} cannot be read: there is no run to resume here. Start it without --resume.`,
        { folder: this.path },
        { cause },
      );
    }
  }

  private logFile(name: LogName): string {
    return path.join(this.path, `${name}.jsonl`);
  }

  async append(name: LogName, lines: readonly Json[]): Promise<void> {
    if (lines.length === 0) return;
    try {
      await appendFile(this.logFile(name), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    } catch (error) {
      throw outputError(this.logFile(name), error);
    }
  }

  /** The lines of `metrics.jsonl`. */
  async readMetrics(): Promise<{ step: number; loss?: number; validationLoss?: number }[]> {
    const text = await readFile(this.logFile('metrics'), 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line.length > 0)
      .map((line) => JSON.parse(line));
  }

  async logSizes(): Promise<LogSizes> {
    const sizes = await Promise.all(
      LOGS.map((name) =>
        stat(this.logFile(name)).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
    );
    return Object.fromEntries(LOGS.map((name, i) => [name, sizes[i]!])) as Record<LogName, number>;
  }

  /** Cuts off what was logged after a checkpoint. */
  async cutLogs(sizes: LogSizes): Promise<void> {
    const now = await this.logSizes();
    for (const name of LOGS) if (now[name] > sizes[name]) await truncate(this.logFile(name), sizes[name]);
  }
}
