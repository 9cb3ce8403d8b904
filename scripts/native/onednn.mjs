/** Where the native backend's oneDNN comes from: an installed one or PyPI's for the quick build, its source for a release. */
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { run } from '../run.mjs';

export const cache = path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'lft');

/** oneDNN 3.2 as PyPI has it, with GCC's OpenMP. */
const WHEEL = '2023.2.0';
/** The crate that carries the source of oneDNN 3.14. */
const CRATE = '0.1.22';

const PROCESSOR = { x64: 'x86_64', arm64: 'aarch64' };

/** Runs a program to its end, silently. @throws Error with what it said, and the remedy */
export async function must(program, args, remedy, options = {}) {
  const { code, output } = await run(program, args, { ...options, output: 'keep' });
  if (code !== 0) throw new Error(`${program} failed:\n${output.trim().split('\n').slice(-40).join('\n')}\n${remedy}`);
  return output;
}

/** A folder that `fill` makes once: it appears under its name only when it is whole. */
async function once(folder, fill) {
  if (existsSync(folder)) return folder;
  const work = `${folder}.${process.pid}`;
  try {
    mkdirSync(work, { recursive: true });
    await fill(work);
    renameSync(work, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

/**
 * A shared oneDNN 3 to link with, installed (ONEDNN_ROOT, or the system's) or else fetched.
 * @returns the folders of its headers, and the library
 */
export async function sharedOneDnn() {
  for (const folder of [process.env.ONEDNN_ROOT, '/usr/local', '/usr'].filter(Boolean)) {
    const include = ['include', 'include/oneapi/dnnl'].map((each) => path.join(folder, each));
    const library = ['lib', 'lib64', `lib/${PROCESSOR[process.arch]}-linux-gnu`]
      .map((each) => findLibrary(path.join(folder, each)))
      .find(Boolean);
    if (library && include.some((each) => existsSync(path.join(each, 'dnnl.hpp')))) {
      console.log(`oneDNN in ${folder}`);
      return { include, library };
    }
  }
  const folder = await once(path.join(cache, `onednn-${WHEEL}`), fetchWheels);
  return { include: [path.join(folder, 'include')], library: findLibrary(path.join(folder, 'lib')) };
}

function findLibrary(folder) {
  const name = existsSync(folder) && readdirSync(folder).find((each) => /^libdnnl\.so\.3(\.|$)/.test(each));
  return name ? path.join(folder, name) : undefined;
}

async function fetchWheels(folder) {
  console.log(`Fetching oneDNN (39 MB) into ${cache}`);
  const work = mkdtempSync(path.join(tmpdir(), 'lft-onednn-'));
  try {
    const packages = ['onednn-cpu-gomp', 'onednn-devel-cpu-gomp'].map((name) => `${name}==${WHEEL}`);
    await must(
      'python3',
      ['-m', 'pip', 'download', '-q', '--no-deps', '-d', work, ...packages],
      'Install Python 3 with pip, or an oneDNN 3 and name it by ONEDNN_ROOT.',
    );
    // A wheel is a zip; what these carry lies in its data folder.
    for (const wheel of readdirSync(work).filter((name) => name.endsWith('.whl'))) {
      const unpacked = path.join(work, wheel.replace('.whl', ''));
      const damaged = 'The download is damaged: try again.';
      await must('python3', ['-m', 'zipfile', '-e', path.join(work, wheel), unpacked], damaged);
      const data = readdirSync(unpacked).find((name) => name.endsWith('.data'));
      cpSync(path.join(unpacked, data, 'data'), folder, { recursive: true });
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * A static oneDNN 3.14, built from source once: products and reorders on the CPU, for every level of instructions.
 * @param target the architecture and its compilers
 * @returns the folder of its headers, the library, and the texts that go with it
 */
export async function staticOneDnn(target) {
  const folder = await once(path.join(cache, `onednn-src-${CRATE}-${target.arch}`), (work) =>
    buildFromSource(work, target),
  );
  return {
    include: [path.join(folder, 'include')],
    library: path.join(folder, 'lib/libdnnl.a'),
    notices: ['LICENSE', 'THIRD-PARTY-PROGRAMS'].map((name) => path.join(folder, name)),
  };
}

async function buildFromSource(folder, { arch, prefix, cxx }) {
  const source = await fetchCrate();
  const build = path.join(folder, 'build');
  const off = ['BUILD_DOC', 'BUILD_EXAMPLES', 'BUILD_TESTS', 'BUILD_GRAPH', 'ENABLE_ITT_TASKS', 'ENABLE_JIT_PROFILING'];
  // Arm's own kernels are a second library to link, and take only products in which nothing is transposed.
  off.push('AARCH64_USE_KAI');
  const settings = {
    CMAKE_BUILD_TYPE: 'Release',
    ...(prefix && {
      CMAKE_SYSTEM_NAME: 'Linux',
      CMAKE_SYSTEM_PROCESSOR: PROCESSOR[arch],
      CMAKE_C_COMPILER: `${prefix}gcc`,
    }),
    CMAKE_CXX_COMPILER: cxx,
    CMAKE_C_FLAGS: '-ffunction-sections -fdata-sections',
    CMAKE_CXX_FLAGS: '-ffunction-sections -fdata-sections',
    CMAKE_POSITION_INDEPENDENT_CODE: 'ON',
    CMAKE_INSTALL_PREFIX: folder,
    CMAKE_INSTALL_LIBDIR: 'lib',
    ONEDNN_LIBRARY_TYPE: 'STATIC',
    ONEDNN_CPU_RUNTIME: 'OMP',
    ONEDNN_GPU_RUNTIME: 'NONE',
    ONEDNN_ENABLE_PRIMITIVE: 'MATMUL;REORDER',
    ONEDNN_ENABLE_WORKLOAD: 'INFERENCE',
    ...Object.fromEntries(off.map((name) => [`ONEDNN_${name}`, 'OFF'])),
  };
  console.log(`Building oneDNN from ${source}: a quarter of an hour on two cores, once`);
  const defines = Object.entries(settings).map(([name, value]) => `-D${name}=${value}`);
  await must('cmake', ['-S', source, '-B', build, ...defines], 'Install cmake and a C++ compiler.');
  await must(
    'cmake',
    ['--build', build, '--parallel', String(availableParallelism()), '--target', 'install'],
    'See the error above.',
  );
  for (const name of ['LICENSE', 'THIRD-PARTY-PROGRAMS']) {
    copyFileSync(path.join(source, name), path.join(folder, name));
  }
  rmSync(build, { recursive: true });
}

/** The source of oneDNN, as cargo keeps it. */
async function fetchCrate() {
  const project = mkdtempSync(path.join(tmpdir(), 'lft-crate-'));
  try {
    mkdirSync(path.join(project, 'src'));
    writeFileSync(path.join(project, 'src/lib.rs'), '');
    writeFileSync(
      path.join(project, 'Cargo.toml'),
      `[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n\n[dependencies]\nonednn-src = "=${CRATE}"\n`,
    );
    const remedy = 'Install Rust’s cargo (1.85 or newer): it fetches the source of oneDNN.';
    await must('cargo', ['fetch', '--quiet'], remedy, { cwd: project });
    const found = await must('cargo', ['metadata', '--offline', '--format-version', '1'], remedy, { cwd: project });
    const { packages } = JSON.parse(found);
    const crate = packages.find(({ name }) => name === 'onednn-src');
    return path.join(path.dirname(crate.manifest_path), 'oneDNN');
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}
