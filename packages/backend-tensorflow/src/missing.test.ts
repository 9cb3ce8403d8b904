import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setupTensorFlow } from './setup/setup-tensorflow.js';
import { useTensorFlow } from './use-tensorflow.js';

const folder = mkdtempSync(path.join(tmpdir(), 'lft-tensorflow-'));
const here = process.cwd();
const { PATH, CXX, LFT_TENSORFLOW, XDG_CACHE_HOME } = process.env;

beforeAll(() => {
  delete process.env.LFT_TENSORFLOW;
  process.chdir(folder);
});
afterEach(() => {
  rmSync(path.join(folder, 'node_modules'), { recursive: true, force: true });
  Object.assign(process.env, { PATH, ...(XDG_CACHE_HOME ? { XDG_CACHE_HOME } : {}) });
  if (!XDG_CACHE_HOME) delete process.env.XDG_CACHE_HOME;
  if (CXX) process.env.CXX = CXX;
  else delete process.env.CXX;
});
afterAll(() => {
  process.chdir(here);
  if (LFT_TENSORFLOW) process.env.LFT_TENSORFLOW = LFT_TENSORFLOW;
  rmSync(folder, { recursive: true, force: true });
});

/** tfjs-node as npm leaves it when its install script does not run. */
function unbuiltPackage(): void {
  const root = path.join(folder, 'node_modules/@tensorflow/tfjs-node');
  mkdirSync(path.join(root, 'binding'), { recursive: true });
  writeFileSync(path.join(root, 'binding/tfjs_backend.cc'), '');
  writeFileSync(
    path.join(root, 'package.json'),
    JSON.stringify({ name: '@tensorflow/tfjs-node', version: '4.22.0', binary: { napi_versions: [3, 8] } }),
  );
}

/** The files of a TensorFlow library, empty. */
function emptyLibrary(): string {
  const library = path.join(folder, 'library');
  mkdirSync(path.join(library, 'include/tensorflow/c/eager'), { recursive: true });
  for (const file of ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2', 'include/tensorflow/c/eager/c_api.h']) {
    writeFileSync(path.join(library, file), '');
  }
  return library;
}

describe('without the package or its addon', () => {
  test.each([
    [
      undefined,
      '@tensorflow/tfjs-node is not installed: npm i @tensorflow/tfjs-node@4.22.0 --ignore-scripts, then lft setup tensorflow',
    ],
    [
      true,
      '@tensorflow/tfjs-node-gpu is not installed: npm i @tensorflow/tfjs-node-gpu@4.22.0 --ignore-scripts, then lft setup tensorflow --gpu',
    ],
  ])('gpu %s: the error says how to get it', async (gpu, message) => {
    const options = gpu === undefined ? {} : { gpu };
    await expect(useTensorFlow(options)).rejects.toMatchObject({
      code: 'backend-unavailable',
      message: `backend "tensorflow": ${message}`,
    });
  });

  test('an installed package without its addon: the error names the command that builds it', async () => {
    unbuiltPackage();
    await expect(useTensorFlow()).rejects.toMatchObject({
      code: 'backend-unavailable',
      message: expect.stringContaining('is installed without its addon: lft setup tensorflow builds it'),
    });
  });

  test('a number of threads that is none', async () => {
    await expect(useTensorFlow({ threads: 0 })).rejects.toMatchObject({ code: 'options-invalid' });
  });
});

(process.platform === 'linux' ? describe : describe.skip)('setup that cannot go on says why', () => {
  test('no package', async () => {
    await expect(setupTensorFlow()).rejects.toMatchObject({
      code: 'backend-unavailable',
      message: expect.stringContaining('npm i @tensorflow/tfjs-node@4.22.0 --ignore-scripts, and once more'),
    });
  });

  test('a version that is none', async () => {
    await expect(setupTensorFlow({ tensorflow: 'newest' })).rejects.toMatchObject({
      code: 'options-invalid',
      message: 'setup tensorflow: tensorflow: a version such as 2.15.1',
    });
  });

  test('a folder without the library', async () => {
    unbuiltPackage();
    await expect(setupTensorFlow({ library: folder })).rejects.toMatchObject({
      code: 'options-invalid',
      message: expect.stringContaining('holds no TensorFlow library: it has to have libtensorflow_cc.so.2'),
    });
  });

  test('no compiler', async () => {
    unbuiltPackage();
    process.env.PATH = folder;
    await expect(setupTensorFlow({ library: emptyLibrary() })).rejects.toMatchObject({
      code: 'backend-unavailable',
      message: expect.stringContaining('neither g++ nor clang++'),
    });
    process.env.CXX = 'no-such-compiler';
    await expect(setupTensorFlow({ library: emptyLibrary() })).rejects.toMatchObject({
      message: 'CXX names no-such-compiler, which is no compiler that runs',
    });
  });

  (process.arch === 'x64' ? test : test.skip)('no pip', async () => {
    unbuiltPackage();
    process.env.PATH = folder;
    process.env.XDG_CACHE_HOME = folder;
    await expect(setupTensorFlow()).rejects.toMatchObject({
      code: 'backend-unavailable',
      message: expect.stringContaining('there is no python3 with pip'),
    });
  });
});
