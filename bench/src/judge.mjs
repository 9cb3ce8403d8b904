import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root } from '../../scripts/workspace.mjs';

/** What lft keeps between runs. */
export const cacheFolder = path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'lft');

/**
 * The Python with PyTorch, transformers and PEFT: LFT_JUDGE_PYTHON, or an environment in the cache, which continuous integration uses too.
 * @returns the path of its python, or undefined (having said why) where none can be made
 */
export function judgePython() {
  if (process.env.LFT_JUDGE_PYTHON) return process.env.LFT_JUDGE_PYTHON;
  const folder = path.join(cacheFolder, 'judge');
  const python = path.join(folder, 'bin', 'python');
  const ready = path.join(folder, 'ready');
  const requirements = path.join(root, '.ci', 'judge-requirements.txt');
  const wanted = readFileSync(requirements, 'utf8');
  if (existsSync(ready) && readFileSync(ready, 'utf8') === wanted) return python;
  console.log(`Installing PyTorch, transformers and PEFT into ${folder} (several GB) ...`);
  mkdirSync(cacheFolder, { recursive: true });
  const run = (command, args) => execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  try {
    if (!existsSync(python)) run('python3', ['-m', 'venv', '--clear', folder]);
    run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', requirements]);
  } catch (error) {
    console.log(`They could not be installed (${error.message}): only this library is measured.`);
    return undefined;
  }
  writeFileSync(ready, wanted);
  return python;
}

/** Versions of what the Python has. */
export function judgeVersions(python) {
  const names = ['torch', 'transformers', 'peft'];
  const script = `import json, platform; from importlib.metadata import version
print(json.dumps({"Python": platform.python_version(), **{n: version(n) for n in ${JSON.stringify(names)}}}))`;
  return JSON.parse(execFileSync(python, ['-c', script], { encoding: 'utf8' }));
}
