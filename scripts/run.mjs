import { spawn } from 'node:child_process';
import path from 'node:path';
import { root } from './workspace.mjs';

const binaries = path.join(root, 'node_modules', '.bin');
const windows = process.platform === 'win32';

/** The environment of every command: the workspace's own tools first, nothing sent home. */
function environment(extra) {
  const key = Object.keys(process.env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH';
  return {
    ...process.env,
    [key]: [binaries, path.dirname(process.execPath), process.env[key]].filter(Boolean).join(path.delimiter),
    TURBO_TELEMETRY_DISABLED: '1',
    TURBO_NO_UPDATE_NOTIFIER: '1',
    ...extra,
  };
}

/**
 * Runs a command to its end.
 * @param output `show` passes it on as it comes, `keep` collects it
 * @returns the exit code and what was kept
 */
export function run(command, args, { cwd = root, env = {}, output = 'show' } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env: environment(env),
      stdio: output === 'show' ? 'inherit' : ['ignore', 'pipe', 'pipe'],
      shell: windows && command !== process.execPath,
    });
    let kept = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8');
      stream?.on('data', (text) => {
        kept += text;
      });
    }
    child.on('error', (error) => resolve({ code: 127, output: `${kept}${error.message}\n` }));
    child.on('close', (code, signal) => resolve({ code: code ?? (signal === 'SIGINT' ? 130 : 143), output: kept }));
  });
}

/** Runs a JavaScript file with this Node. */
export function runNode(args, options) {
  return run(process.execPath, args, options);
}

/** `turbo ARGS`, two tasks at a time. */
export function turbo(args, options) {
  return runNode([path.join(root, 'node_modules', 'turbo', 'bin', 'turbo'), ...args, '--concurrency=2'], options);
}

/** `14 s` or `2 min 3 s`, since a moment of `performance.now()`. */
export function since(start) {
  const seconds = Math.round((performance.now() - start) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
