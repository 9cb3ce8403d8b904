import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

const COMMAND = path.join(__dirname, '../../dist/lft.js');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs the built command in a process of its own: for signals, and for what the tests' module loader does not know.
 * @param onLine called with every line of stdout
 */
export function lftProcess(
  argv: readonly string[],
  onLine?: (line: string, child: ChildProcess) => void,
): Promise<Ended> {
  if (!existsSync(COMMAND)) throw new Error(`${COMMAND} is not there: build the package first`);
  const child = spawn(process.execPath, [COMMAND, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr, rest] = ['', '', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) onLine?.(line, child);
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
