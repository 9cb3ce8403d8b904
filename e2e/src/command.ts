import { spawnSync } from 'node:child_process';

/** What a command left behind. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  /** Standard output, then error. */
  readonly output: string;
}

/** Runs a command to its end, without standard input. */
export function command(
  program: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): Outcome {
  const result = spawnSync(program, args, {
    cwd,
    env: { ...process.env, FORCE_COLOR: undefined, NO_COLOR: '1', ...env },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 26,
  });
  const trouble = result.error ? `\n${result.error.message}` : '';
  return { code: result.status ?? -1, stdout: result.stdout, output: `${result.stdout}${result.stderr}${trouble}` };
}

/**
 * The standard output of a command that must end well.
 * @throws Error with the whole output otherwise
 */
export function succeed(program: string, args: readonly string[], cwd: string, env?: Record<string, string>): string {
  const { code, stdout, output } = command(program, args, cwd, env);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}\nended with exit code ${code}\n\n${output}`);
  return stdout;
}
