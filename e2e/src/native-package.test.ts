import { cpSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { command, succeed } from './command.js';
import { pack } from './pack.js';
import { readManifest, repository, temporaryFolder } from './repository.js';

const platform = `${process.platform}-${process.arch}`;
const prebuilt = `@lft/backend-native-${platform}`;
const builds = path.join(repository, 'packages/backend-native/build');
const built = [`${platform}-static`, platform]
  .map((name) => path.join(builds, name))
  .find((folder) => existsSync(path.join(folder, 'lft_native.node')));

/** The platform's package as it would be published, with the addon that is built here and what lies beside it. */
function packPrebuilt(): string {
  const folder = temporaryFolder();
  cpSync(path.join(repository, 'packages/backend-native/npm', platform), folder, { recursive: true });
  const { scripts: _guard, ...manifest } = readManifest(path.join(folder, 'package.json'));
  const parts = readdirSync(built!).filter((name) => /\.(node|so\.3)$/.test(name));
  for (const name of parts) cpSync(path.join(built!, name), path.join(folder, name));
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ ...manifest, files: parts }));
  succeed('npm', ['pack', '--silent'], folder);
  return path.join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz'))!);
}

/** Starts the fastest backend and the native one, and multiplies on it. */
const PROGRAM = `
import { ensureBackend, useBackend } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
const report = { fastest: await ensureBackend() };
try {
  report.native = await useBackend('native');
  report.product = [...tf.matMul(tf.ones([300, 200]), tf.ones([200, 2])).dataSync()].every((value) => value === 200);
} catch (error) {
  report.error = error.message;
}
console.log(JSON.stringify(report));
`;

describe('the packed native backend, installed by npm', () => {
  const folder = temporaryFolder();
  const install = (...packages: string[]) =>
    succeed('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...packages], folder);
  const start = (env: Record<string, string> = {}) => {
    const { output } = command(process.execPath, ['program.mjs'], folder, {
      LFT_BACKEND: '',
      LFT_NATIVE_ADDON: '',
      ...env,
    });
    return JSON.parse(output.trim().split('\n').at(-1)!) as Record<string, unknown>;
  };

  beforeAll(() => {
    writeFileSync(path.join(folder, 'package.json'), '{ "name": "somebody", "private": true }\n');
    writeFileSync(path.join(folder, 'program.mjs'), PROGRAM);
    install(pack('core'), pack('backend-native'));
  });

  test('works without the addon of its platform: on wasm, and says how to get it', () => {
    expect(start()).toEqual({
      fastest: 'wasm',
      error: expect.stringContaining(`${prebuilt} is not installed. Remedy: npm install ${prebuilt}.`),
    });
  });

  const withAddon = built ? test : test.skip;
  withAddon('is the default where the addon of its platform is there', () => {
    install(packPrebuilt());
    expect(start()).toEqual({ fastest: 'native', native: 'native', product: true });
  });

  withAddon('leaves a processor without AVX2 to wasm', () => {
    if (process.arch !== 'x64') return;
    const { fastest, error } = start({ ONEDNN_MAX_CPU_ISA: 'SSE41' });
    expect(fastest).toBe('wasm');
    expect(error).toContain('this processor has no AVX2');
  });
});
