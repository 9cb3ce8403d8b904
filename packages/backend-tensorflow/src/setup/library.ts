import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { LftError } from '@lft/core';
import { lastLines, runProgram } from './run-program.js';

/** The TensorFlow library with what a program needs to be compiled against it. */
export interface Library {
  /** libtensorflow_cc.so.2 (or libtensorflow.so.2) and libtensorflow_framework.so.2. */
  readonly files: readonly string[];
  readonly include: string;
}

/** The library in a folder: a wheel's, site-packages, or the C library's archive (lib/ and include/). */
export function libraryIn(folder: string): Library | undefined {
  for (const base of [folder, path.join(folder, 'tensorflow')]) {
    const include = path.join(base, 'include');
    if (!existsSync(path.join(include, 'tensorflow', 'c', 'eager', 'c_api.h'))) continue;
    for (const lib of [base, path.join(base, 'lib')]) {
      const named = ['libtensorflow_cc.so.2', 'libtensorflow.so.2'].map((name) => path.join(lib, name));
      const main = named.find((file) => existsSync(file));
      const framework = path.join(lib, 'libtensorflow_framework.so.2');
      if (main && existsSync(framework)) return { files: [main, framework], include };
    }
  }
  return undefined;
}

/** The library that the user names. */
export function givenLibrary(folder: string): Library {
  const found = libraryIn(path.resolve(folder));
  if (found) return found;
  throw new LftError(
    'options-invalid',
    `${folder} holds no TensorFlow library: it has to have libtensorflow_cc.so.2, libtensorflow_framework.so.2 and include/, as the folder "tensorflow" of an installed Python package has`,
    { folder },
  );
}

export function cacheFolder(gpu: boolean, version: string): string {
  const cache = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache');
  return path.join(cache, 'lft', `tensorflow-${gpu ? 'gpu' : 'cpu'}-${version}`);
}

/** Takes from a wheel (a zip) the two libraries and the headers of the C interface: a third less than the whole. */
const UNPACK = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        headers = name.startswith('tensorflow/include/') and ('/c/' in name or 'ctstring' in name)
        if headers or name.startswith('tensorflow/libtensorflow'):
            wheel.extract(name, sys.argv[2])
`;

/** The Python whose wheels are taken. Nothing of them runs in Python: it need not be the one that is installed. */
const WHEEL_PYTHON = '3.11';
const PLATFORMS = ['manylinux_2_17_x86_64', 'manylinux2014_x86_64', 'manylinux_2_27_x86_64', 'manylinux_2_28_x86_64'];

/**
 * Fetches the library with pip into the cache. A folder is complete or absent.
 * @throws LftError backend-unavailable
 */
export async function fetchLibrary(gpu: boolean, version: string): Promise<Library> {
  const target = cacheFolder(gpu, version);
  const cached = libraryIn(target);
  if (cached) return cached;
  if (process.arch !== 'x64') {
    throw unavailable(
      `the TensorFlow library is fetched for x64 only, and this is ${process.arch}: install TensorFlow in Python and give its folder, --library .../site-packages/tensorflow`,
    );
  }
  const partial = `${target}.${process.pid}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  try {
    const wheels = path.join(partial, 'wheels');
    const choice = [
      '--only-binary=:all:',
      ...['--python-version', WHEEL_PYTHON, '--implementation', 'cp', '--abi', `cp${WHEEL_PYTHON.replace('.', '')}`],
      ...['--abi', 'none', '--abi', 'abi3'],
      ...PLATFORMS.flatMap((platform) => ['--platform', platform]),
    ];
    if (gpu) {
      // CUDA comes as packages of its own; beside TensorFlow its library finds them.
      await pip(
        ['install', '--no-compile', '--target', partial, ...choice, `tensorflow[and-cuda]==${version}`],
        version,
      );
    } else {
      await pip(['download', '--no-deps', '--dest', wheels, ...choice, `tensorflow-cpu==${version}`], version);
      const wheel = readdirSync(wheels).find((file) => file.endsWith('.whl'))!;
      const unpacked = await runProgram('python3', ['-c', UNPACK, path.join(wheels, wheel), partial]);
      if (unpacked.code !== 0) throw unavailable(`${wheel} could not be unpacked: ${lastLines(unpacked)}`);
      rmSync(wheels, { recursive: true });
    }
    if (!libraryIn(partial)) throw unavailable(`TensorFlow ${version} from pip has no libtensorflow_cc.so.2`);
    rmSync(target, { recursive: true, force: true });
    renameSync(partial, target);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return libraryIn(target)!;
}

async function pip(args: readonly string[], version: string): Promise<void> {
  const ended = await runProgram('python3', ['-m', 'pip', '--quiet', '--disable-pip-version-check', ...args]);
  if (ended.code === 0) return;
  if (ended.code === undefined || ended.stderr.includes('No module named pip')) {
    throw unavailable(
      'the TensorFlow library is fetched with pip, and there is no python3 with pip: install it, or give --library DIR of an installed TensorFlow',
    );
  }
  throw unavailable(`pip could not fetch TensorFlow ${version}: ${lastLines(ended)}`);
}

function unavailable(message: string): LftError {
  return new LftError('backend-unavailable', message);
}
