import { spawn } from 'node:child_process';
import path from 'node:path';
import { busySeconds } from './machine.mjs';

export const THREADS = 2;

/** Both sides get the same: two threads, no graphics card, and kernels chosen by themselves. */
function environment() {
  const { OPENBLAS_CORETYPE: _, ...rest } = process.env;
  const threads = String(THREADS);
  return { ...rest, OMP_NUM_THREADS: threads, MKL_NUM_THREADS: threads, CUDA_VISIBLE_DEVICES: '' };
}

/**
 * Runs a program of this folder in a process of its own, to its end.
 * @param program `ours.mjs`, or `pytorch.py` with a python
 * @param settings its only argument, as JSON
 * @returns what it printed last, read as JSON, with `began`, when it was started (ms since the epoch), and `others`, how many cores other
 *   processes kept busy meanwhile; `failed` when it did not end well
 */
export function runChild(program, settings, { python, limitSeconds = 1800 } = {}) {
  const file = path.join(import.meta.dirname, program);
  const began = Date.now();
  const busy = busySeconds();
  return new Promise((resolve) => {
    const child = spawn(python ?? process.execPath, [file, JSON.stringify(settings)], {
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 1000 * limitSeconds,
    });
    // A driver that is told to end takes the process that it waits for along.
    const end = () => {
      child.kill();
      process.exit(143);
    };
    process.once('SIGTERM', end);
    let output = '';
    let errors = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    child.stderr.on('data', (data) => {
      errors += data;
    });
    child.on('error', (error) => resolve({ began, failed: error.message }));
    child.on('close', (code, signal) => {
      process.off('SIGTERM', end);
      if (code !== 0) return resolve({ began, failed: signal ? `ended by ${signal}` : reason(errors) });
      const result = JSON.parse(output.trim().split('\n').at(-1));
      const seconds = (Date.now() - began) / 1000;
      const others = busy === undefined ? undefined : Math.max(0, busySeconds() - busy - result.cpu) / seconds;
      resolve({ began, others, ...result });
    });
  });
}

/** The line of a stack trace that says what happened. */
function reason(errors) {
  const lines = errors.split('\n').map((line) => line.trim());
  return (
    lines.findLast((line) => /^(\w+\.)*\w*(Error|Exception)\b.*:/.test(line)) ??
    lines.findLast(Boolean) ??
    'no reason given'
  ).slice(0, 300);
}
