import { spawn } from 'node:child_process';

export interface Ended {
  /** undefined where the program is not there. */
  readonly code: number | null | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program without a shell and keeps what it writes. */
export function runProgram(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    const written = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        written[name] += text;
      });
    }
    child.on('error', () => resolve({ code: undefined, ...written }));
    child.on('close', (code) => resolve({ code, ...written }));
  });
}

/** The last lines that say something, for an error message. */
export function lastLines({ stdout, stderr }: Ended, count = 3): string {
  const lines = `${stdout}\n${stderr}`.split('\n').filter((line) => line.trim() !== '');
  return lines.slice(-count).join(' | ');
}
