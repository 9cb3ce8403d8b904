/**
 * `npm run build:native`: compiles the addon of @lft/backend-native, against an oneDNN that is installed (ONEDNN_ROOT, or the system's), or
 * else against the one in PyPI's onednn-cpu-gomp, fetched once into a cache. Needs g++ (or CXX); takes under a minute.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { since } from './run.mjs';
import { root } from './workspace.mjs';

const ONEDNN = '2023.2.0';
const FLAGS = ['-O3', '-std=c++17', '-fPIC', '-fopenmp', '-fno-math-errno', '-fno-trapping-math', '-Wall'];
const source = path.join(root, 'packages/backend-native/native');
const target = path.join(root, 'packages/backend-native/build', `${process.platform}-${process.arch}`);
const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'lft', `onednn-${ONEDNN}`);
const compiler = process.env.CXX ?? 'g++';

function run(program, args, remedy) {
  const { status, error, stderr } = spawnSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  if (status === 0) return;
  throw new Error(`${program} ${error ? `cannot be run: ${error.message}` : `failed:\n${stderr.trim()}`}\n${remedy}`);
}

/** A folder with include/ and lib/ of oneDNN 3. */
function onednn() {
  for (const folder of [process.env.ONEDNN_ROOT, '/usr/local'].filter(Boolean)) {
    const include = ['include', 'include/oneapi/dnnl'].map((each) => path.join(folder, each));
    if (include.some((each) => existsSync(path.join(each, 'dnnl.hpp'))) && library(path.join(folder, 'lib'))) {
      console.log(`oneDNN in ${folder}`);
      return { include, lib: path.join(folder, 'lib') };
    }
  }
  if (!existsSync(path.join(cache, 'lib'))) fetchOneDnn();
  return { include: [path.join(cache, 'include')], lib: path.join(cache, 'lib') };
}

function library(folder) {
  return existsSync(folder) && readdirSync(folder).find((name) => /^libdnnl\.so\.3(\.|$)/.test(name));
}

function fetchOneDnn() {
  console.log(`Fetching oneDNN (39 MB) into ${cache}`);
  const work = mkdtempSync(path.join(tmpdir(), 'lft-onednn-'));
  try {
    const packages = ['onednn-cpu-gomp', 'onednn-devel-cpu-gomp'].map((name) => `${name}==${ONEDNN}`);
    run(
      'python3',
      ['-m', 'pip', 'download', '-q', '--no-deps', '-d', work, ...packages],
      'Install Python 3 with pip, or an oneDNN 3 and name it by ONEDNN_ROOT.',
    );
    mkdirSync(cache, { recursive: true });
    // A wheel is a zip; what these carry lies in its data folder.
    for (const wheel of readdirSync(work).filter((name) => name.endsWith('.whl'))) {
      const unpacked = path.join(work, wheel.replace('.whl', ''));
      run('python3', ['-m', 'zipfile', '-e', path.join(work, wheel), unpacked], 'The download is damaged: try again.');
      const data = path.join(
        unpacked,
        readdirSync(unpacked).find((name) => name.endsWith('.data')),
        'data',
      );
      for (const part of readdirSync(data)) cpSync(path.join(data, part), path.join(cache, part), { recursive: true });
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function build() {
  const start = performance.now();
  if (process.platform !== 'linux')
    throw new Error('The native backend is built on Linux only. Everything works without it, on wasm.');
  const { include, lib } = onednn();
  const headers = createRequire(path.join(root, 'packages/backend-native/package.json'))(
    'node-api-headers',
  ).include_dir;
  const objects = mkdtempSync(path.join(tmpdir(), 'lft-native-'));
  try {
    const files = readdirSync(source).filter((name) => name.endsWith('.cc'));
    console.log(`Compiling ${files.length} files with ${compiler}`);
    const includes = [...include, headers].map((folder) => `-I${folder}`);
    for (const file of files) {
      run(
        compiler,
        [...FLAGS, ...includes, '-c', path.join(source, file), '-o', path.join(objects, `${file}.o`)],
        'Install a C++17 compiler (Debian: apt-get install g++), or name one by CXX.',
      );
    }
    mkdirSync(target, { recursive: true });
    const name = library(lib);
    const parts = files.map((file) => path.join(objects, `${file}.o`));
    const addon = path.join(target, 'lft_native.node');
    const shared = path.join(objects, 'libdnnl.so.3');
    copyFileSync(realpathSync(path.join(lib, name)), shared);
    run(compiler, ['-shared', '-fopenmp', ...parts, shared, '-Wl,-rpath,$ORIGIN', '-o', addon], 'The link failed.');
    copyFileSync(shared, path.join(target, 'libdnnl.so.3'));
    console.log(`Built ${path.relative(root, addon)} in ${since(start)}`);
  } finally {
    rmSync(objects, { recursive: true, force: true });
  }
}

try {
  build();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
