import { mkdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { LftError } from '@lft/core';
import { include_dir as nodeHeaders } from 'node-api-headers';
import type { NodePackage } from '../find-package.js';
import type { Library } from './library.js';
import { lastLines, runProgram } from './run-program.js';

/**
 * Compiles the addon of the package, from the sources that it brings, against the library.
 * @returns the compiler
 * @throws LftError backend-unavailable
 */
export async function compileBinding(target: NodePackage, library: Library): Promise<string> {
  const compiler = await findCompiler();
  const folder = path.dirname(target.binding);
  mkdirSync(folder, { recursive: true });
  const partial = `${target.binding}.${process.pid}.partial`;
  const sources = ['tfjs_backend.cc', 'tfjs_binding.cc'].map((file) => path.join(target.root, 'binding', file));
  const ended = await runProgram(compiler, [
    ...['-O2', '-w', '-fPIC', '-shared', '-std=c++17', `-DNAPI_VERSION=${/napi-v(\d+)/.exec(folder)![1]}`],
    `-I${nodeHeaders}`,
    `-I${library.include}`,
    ...sources,
    ...['-o', partial],
    // By their full names, and found again where they lie: TensorFlow looks for CUDA beside itself, so a link would mislead it.
    ...library.files,
    `-Wl,-rpath,${path.dirname(library.files[0]!)}`,
  ]);
  if (ended.code !== 0) {
    rmSync(partial, { force: true });
    throw new LftError('backend-unavailable', `${compiler} could not compile the addon: ${lastLines(ended)}`, {
      compiler,
      output: ended.stderr,
    });
  }
  renameSync(partial, target.binding);
  return compiler;
}

async function findCompiler(): Promise<string> {
  const named = process.env.CXX;
  for (const compiler of named ? [named] : ['g++', 'clang++', 'c++']) {
    if ((await runProgram(compiler, ['--version'])).code === 0) return compiler;
  }
  throw new LftError(
    'backend-unavailable',
    named
      ? `CXX names ${named}, which is no compiler that runs`
      : 'the addon is compiled, and there is neither g++ nor clang++: install one (apt-get install g++, dnf install gcc-c++), or name it in CXX',
  );
}
