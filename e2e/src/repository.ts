import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
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

/** The package folders under a folder of the repository, with their names in package.json. */
export function packagesIn(parent: 'packages' | 'examples'): { folder: string; manifest: Manifest }[] {
  return readdirSync(path.join(repository, parent))
    .map((name) => path.join(repository, parent, name))
    .filter((folder) => existsSync(path.join(folder, 'package.json')))
    .map((folder) => ({ folder, manifest: readManifest(path.join(folder, 'package.json')) }));
}

/** Names of the folders under packages/ that are published. */
export const publishable = packagesIn('packages')
  .filter(({ manifest }) => !manifest.private)
  .map(({ folder }) => path.basename(folder));

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
