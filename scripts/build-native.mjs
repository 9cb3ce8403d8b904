/**
 * `npm run build:native`: compiles the addon of @lft/backend-native with g++ (or CXX) against a shared oneDNN, in under a minute.
 * `-- --static` makes the release: oneDNN from source inside the addon, for glibc 2.28 and up, laid into the platform's package.
 * `--out DIR` (or LFT_NATIVE_BUILD) builds elsewhere; `--arch arm64` compiles for another processor, with its g++.
 */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { must, sharedOneDnn, staticOneDnn } from './native/onednn.mjs';
import { assertPortable, glibcStubs } from './native/portable-glibc.mjs';
import { since } from './run.mjs';
import { root } from './workspace.mjs';

const FLAGS = ['-O3', '-std=c++17', '-fPIC', '-fopenmp', '-fno-math-errno', '-fno-trapping-math', '-Wall'];
const RELEASE_FLAGS = ['-ffunction-sections', '-fdata-sections', '-fvisibility=hidden'];
// Not unloaded with a worker thread that used it: its own threads and its signal handler go on.
const STAYS = ['-Wl,-z,nodelete'];
const ADDON = 'lft_native.node';
const backend = path.join(root, 'packages/backend-native');
const source = path.join(backend, 'native');

function options() {
  const { values } = parseArgs({
    options: { static: { type: 'boolean' }, out: { type: 'string' }, arch: { type: 'string', default: process.arch } },
  });
  if (process.platform !== 'linux')
    throw new Error('The native backend is built on Linux only. Everything works without it, on wasm.');
  if (!['x64', 'arm64'].includes(values.arch))
    throw new Error(`--arch is ${values.arch}: the native backend is built for x64 and arm64.`);
  return { ...values, out: values.out || process.env.LFT_NATIVE_BUILD };
}

/** The compilers and the lister of symbols for an architecture. */
async function compilers(arch) {
  const prefix = arch === process.arch ? '' : { x64: 'x86_64-linux-gnu-', arm64: 'aarch64-linux-gnu-' }[arch];
  const cxx = process.env.CXX ?? `${prefix}g++`;
  const remedy = `Install a C++17 compiler (Debian: apt-get install ${prefix ? `g++-${prefix.slice(0, -1).replace('_', '-')}` : 'g++'}), or name one by CXX.`;
  const objdump = (await must(cxx, ['-print-prog-name=objdump'], remedy)).trim();
  return { arch, cxx, prefix, objdump, remedy };
}

/** Compiles what changed, two files or more at a time. @returns the object files */
async function compile({ files, flags, folder, target }) {
  mkdirSync(folder, { recursive: true });
  const headers = readdirSync(source).filter((name) => name.endsWith('.h'));
  const common = [target.cxx, ...flags, ...headers.map((name) => readFileSync(path.join(source, name), 'utf8'))];
  const objects = files.map((file) => {
    const hash = createHash('sha256').update(common.join('\n')).update(readFileSync(file)).digest('hex').slice(0, 16);
    return { file, object: path.join(folder, `${path.basename(file, '.cc')}.${hash}.o`) };
  });
  const wanted = objects.filter(({ object }) => !existsSync(object));
  if (wanted.length > 0) console.log(`Compiling ${wanted.length} of ${files.length} files with ${target.cxx}`);
  const compileNext = async () => {
    for (let next = wanted.pop(); next; next = wanted.pop()) {
      await must(target.cxx, [...flags, '-c', next.file, '-o', `${next.object}.part`], target.remedy);
      renameSync(`${next.object}.part`, next.object);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, compileNext));
  const used = new Set(objects.map(({ object }) => path.basename(object)));
  for (const name of readdirSync(folder)) if (!used.has(name)) rmSync(path.join(folder, name), { force: true });
  return objects.map(({ object }) => object);
}

function sources(folder) {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.cc'))
    .map((name) => path.join(folder, name));
}

/** Puts a file that processes may have loaded in place at once: they keep the old one. */
function place(file, target) {
  copyFileSync(file, `${target}.part`);
  renameSync(`${target}.part`, target);
}

/** The addon with a shared oneDNN beside it. */
async function buildQuick(target, out, work) {
  const { include, library } = await sharedOneDnn();
  const flags = [...FLAGS, ...includeFlags(include)];
  const objects = await compile({ files: sources(source), flags, folder: path.join(out, 'objects'), target });
  const shared = path.join(work, 'libdnnl.so.3');
  copyFileSync(realpathSync(library), shared);
  const addon = path.join(work, ADDON);
  const link = ['-shared', '-fopenmp', ...objects, shared, '-Wl,-rpath,$ORIGIN', ...STAYS, '-o', addon];
  await must(target.cxx, link, 'The link failed.');
  for (const file of [shared, addon]) place(file, path.join(out, path.basename(file)));
}

/** The addon with oneDNN, OpenMP and the C++ library inside it. */
async function buildStatic(target, out, work) {
  const { include, library, notices } = await staticOneDnn(target);
  const files = [...sources(source), ...sources(path.join(source, 'release'))];
  const flags = [...FLAGS, ...RELEASE_FLAGS, ...includeFlags(include)];
  const objects = await compile({ files, flags, folder: path.join(out, 'objects'), target });
  const addon = path.join(work, ADDON);
  const exports = path.join(work, 'exports.map');
  writeFileSync(exports, '{ global: napi_register_module_v1; node_api_module_get_api_version_v1; local: *; };\n');
  const link = ['-shared', '-nodefaultlibs', '-s', ...STAYS, '-Wl,--gc-sections', `-Wl,--version-script=${exports}`];
  // oneDNN's classes refer to this weakly, which alone brings nothing out of an archive.
  const own = ['-Wl,--undefined=__cxa_pure_virtual', '-Wl,-Bstatic', '-lstdc++', '-Wl,-Bdynamic', '-lc_nonshared'];
  const system = [...(await glibcStubs(work, target)), '-lgcc', '-l:libgcc_s.so.1'];
  await must(target.cxx, [...link, ...objects, library, ...own, ...system, '-o', addon], 'The link failed.');
  await assertPortable(addon, target);
  place(addon, path.join(out, ADDON));
  return notices;
}

/** Fills the platform's package: the addon, and the licences of what is inside it. */
function fillPackage(folder, addon, notices) {
  if (!existsSync(folder)) throw new Error(`There is no package ${folder}`);
  place(addon, path.join(folder, ADDON));
  const texts = notices.map((file) => readFileSync(file, 'utf8').trim());
  const title =
    'This package contains oneDNN (https://github.com/uxlfoundation/oneDNN), whose licence and notices follow.';
  writeFileSync(path.join(folder, 'NOTICE'), `${[title, ...texts].join('\n\n')}\n`);
}

function includeFlags(include) {
  const { include_dir } = createRequire(path.join(backend, 'package.json'))('node-api-headers');
  return [...include, include_dir].map((folder) => `-I${folder}`);
}

async function build() {
  const start = performance.now();
  const { arch, static: release, out: named } = options();
  const target = await compilers(arch);
  const platform = `linux-${arch}`;
  const out = path.resolve(named || path.join(backend, 'build', release ? `${platform}-static` : platform));
  const work = mkdtempSync(path.join(tmpdir(), 'lft-native-'));
  try {
    mkdirSync(out, { recursive: true });
    const notices = await (release ? buildStatic : buildQuick)(target, out, work);
    const addon = path.join(out, ADDON);
    console.log(`Built ${path.relative(process.cwd(), addon)} in ${since(start)}`);
    if (named) console.log(`It is used where LFT_NATIVE_ADDON=${addon}`);
    else if (release) fillPackage(path.join(backend, 'npm', platform), addon, notices);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

try {
  await build();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
