import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { LftError } from '@lft/core';
import { loadAddon } from './load-addon.js';

const named = process.env.LFT_NATIVE_ADDON;
const folder = mkdtempSync(path.join(tmpdir(), 'lft-addon-'));
const file = (name: string) => path.join(folder, name);
const onLinux = process.platform === 'linux' ? test : test.skip;

afterEach(() => {
  if (named) process.env.LFT_NATIVE_ADDON = named;
  else delete process.env.LFT_NATIVE_ADDON;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What loading the addon of the environment throws: this file never loads one that works. */
function problemWith(addon: string): LftError {
  process.env.LFT_NATIVE_ADDON = addon;
  try {
    loadAddon(undefined);
  } catch (error) {
    if (!LftError.is(error)) throw error;
    expect(error.code).toBe('backend-unavailable');
    return error;
  }
  throw new Error(`${addon} was loaded`);
}

test('an addon that is named and not there is named in the error', () => {
  expect(problemWith(file('absent.node')).message).toContain(
    `LFT_NATIVE_ADDON names ${file('absent.node')}, which does not exist`,
  );
});

test('a file that is no library does not load, and the error says why', () => {
  writeFileSync(file('garbage.node'), 'no library at all');
  expect(problemWith(file('garbage.node')).message).toMatch(/garbage\.node does not load: .*(too short|invalid ELF)/);
});

onLinux('a library that is no addon does not load, and the error says why', () => {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  copyFileSync(/\/\S*\/libm[.-]\S*/.exec(maps)![0], file('library.node'));
  expect(problemWith(file('library.node')).message).toMatch(/library\.node does not load: .*self-register/);
});

onLinux('an addon of another package is not taken for this one', () => {
  const folder = path.dirname(require.resolve('@swc/core/package.json'));
  const other = require.resolve(`@swc/core-${process.platform}-${process.arch}-gnu`, { paths: [folder] });
  expect(problemWith(other).message).toContain('is another addon, or one of another version');
});
