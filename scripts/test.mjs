/**
 * `npm test`: installs, builds, checks types and style, runs every package's tests, and adds them up. The last line is
 * `N passed, N failed` (`, N skipped` when some were). A step that fails counts as one failed check.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { install } from './install.mjs';
import { run, runNode, since, turbo } from './run.mjs';
import { root, workspacePackages } from './workspace.mjs';

const RESULTS = 'test-results.json';
const start = performance.now();
const totals = { passed: 0, failed: 0, skipped: 0 };
const failures = [];

function fail(what, count = 1) {
  totals.failed += count;
  failures.push(what);
}

async function step(title, action) {
  console.log(`\n== ${title}`);
  const { code } = await action();
  if (code !== 0) console.log(`== ${title}: failed (exit code ${code})`);
  return code;
}

async function check(title, action) {
  if ((await step(title, action)) !== 0) fail(title);
}

/** What the tests may use when the machine has it: the Python reference, TensorFlow and WebGPU for Node, and a browser. */
function optionalTools() {
  const cache = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache');
  const judge = path.join(cache, 'lft', 'judge');
  const tensorflow = path.join(cache, 'lft', 'tensorflow-node');
  const webgpu = path.join(cache, 'lft', 'webgpu-node');
  const drivers = ['/usr/lib/chromium', '/usr/lib/chromium-browser', '/opt/google/chrome'];
  const browsers = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  const found = {
    LFT_JUDGE_PYTHON: existsSync(path.join(judge, 'ready')) ? path.join(judge, 'bin', 'python') : undefined,
    LFT_TENSORFLOW: existsSync(path.join(tensorflow, 'ready')) ? tensorflow : undefined,
    LFT_WEBGPU: existsSync(path.join(webgpu, 'ready')) ? webgpu : undefined,
    LFT_SWIFTSHADER: drivers.find((folder) => existsSync(path.join(folder, 'vk_swiftshader_icd.json'))),
    LFT_CHROMIUM: browsers.find((browser) => existsSync(browser)),
  };
  return Object.fromEntries(Object.entries(found).filter(([name, value]) => value && !process.env[name]));
}

/** Where a build of the native backend lies. */
const BUILT = path.join(
  root,
  'packages/backend-native/build',
  `${process.platform}-${process.arch}`,
  'lft_native.node',
);

/** Everything that computes, once more on the native backend: core, the plugins with their laws, the matrix. */
async function testNative() {
  const results = path.join(root, 'test-results.native.json');
  rmSync(results, { force: true });
  const projects = ['core', 'testing', 'lora', 'lisa', 'ist', 'ila'].map((name) => path.join(root, 'packages', name));
  const code = await step('tests on the native backend', () =>
    run(
      path.join(root, 'node_modules', '.bin', 'jest'),
      [
        '--projects',
        ...projects,
        path.join(root, 'e2e'),
        '--testPathPatterns',
        'packages/[a-z]+/src/|matrix',
        '--json',
        `--outputFile=${results}`,
      ],
      { env: { LFT_BACKEND: 'native' } },
    ),
  );
  return { code, results };
}

function hasTests(folder) {
  const source = path.join(folder, 'src');
  return (
    existsSync(source) && readdirSync(source, { recursive: true }).some((file) => String(file).endsWith('.test.ts'))
  );
}

/** Adds one package's results to the totals. */
function add({ folder, name, file = path.join(folder, RESULTS) }) {
  if (!existsSync(file)) {
    if (hasTests(folder)) fail(`${name}: its tests left no results`);
    return;
  }
  const results = JSON.parse(readFileSync(file, 'utf8'));
  const brokenFiles = results.testResults.filter(
    (suite) => suite.status === 'failed' && suite.assertionResults.length === 0,
  );
  const failed = results.numFailedTests + brokenFiles.length;
  const skipped = results.numPendingTests + results.numTodoTests;
  totals.passed += results.numPassedTests;
  totals.skipped += skipped;
  for (const suite of results.testResults) {
    for (const test of suite.assertionResults) if (test.status === 'failed') fail(`${name}: ${test.fullName}`);
  }
  for (const suite of brokenFiles) fail(`${name}: ${path.relative(folder, suite.name)} could not run`);
  console.log(
    `${name.padEnd(28)} ${results.numPassedTests} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`,
  );
}

try {
  await install();
  const tested = workspacePackages().filter(({ manifest }) => manifest.scripts?.test);
  for (const { folder } of tested) rmSync(path.join(folder, RESULTS), { force: true });

  // A build of older sources lacks kernels.
  const named = process.env.LFT_NATIVE_ADDON;
  const hasAddon = existsSync(named || BUILT);
  if (hasAddon && !named)
    await check('native backend', () => runNode([path.join(root, 'scripts', 'build-native.mjs')]));
  await check('build and types', () => turbo(['run', 'build', 'typecheck', '--continue', '--output-logs=errors-only']));
  await check('style', () => run(path.join(root, 'node_modules', '.bin', 'biome'), ['check', '.']));
  const testsExit = await step('tests', () =>
    turbo(['run', 'test', '--continue', '--output-logs=new-only'], { env: optionalTools() }),
  );

  const native = hasAddon ? await testNative() : undefined;

  console.log('');
  const failedBefore = totals.failed;
  for (const each of tested) add(each);
  if (native) add({ folder: root, name: 'on the native backend', file: native.results });
  if ((testsExit !== 0 || (native && native.code !== 0)) && totals.failed === failedBefore)
    fail('tests: the run ended with an error');
} catch (error) {
  console.error(error.message);
  fail('install');
}

if (failures.length > 0) console.log(`\nFailed:\n${failures.map((failure) => `  ${failure}`).join('\n')}`);
console.log(`\nTook ${since(start)}.`);
console.log(`${totals.passed} passed, ${totals.failed} failed${totals.skipped ? `, ${totals.skipped} skipped` : ''}`);
process.exitCode = totals.failed > 0 ? 1 : 0;
