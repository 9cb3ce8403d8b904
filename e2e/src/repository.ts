import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export const repository = path.resolve(__dirname, '../..');

/** The part of a package.json that these tests read. */
export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly private?: boolean;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

export function readManifest(file: string): Manifest {
  return JSON.parse(readFileSync(file, 'utf8')) as Manifest;
}

/** Names of the folders under packages/ that are published. */
export const publishable = readdirSync(path.join(repository, 'packages')).filter((folder) => {
  const file = path.join(repository, 'packages', folder, 'package.json');
  try {
    return !readManifest(file).private;
  } catch {
    return false;
  }
});

const temporary: string[] = [];

/** An empty folder outside the repository, removed when the test file ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'lft-e2e-'));
  temporary.push(folder);
  return folder;
}

afterAll(() => {
  for (const folder of temporary) rmSync(folder, { recursive: true, force: true });
});
