import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { main } from '../main.js';

const ROOT = path.join(__dirname, '../../../..');

/** Makes a folder with the test model and a little text the working directory of a test file. */
export function workspace() {
  const folder = mkdtempSync(path.join(tmpdir(), 'lft-cli-'));
  const here = process.cwd();
  beforeAll(() => {
    symlinkSync(path.join(ROOT, 'models'), path.join(folder, 'models'));
    const shakespeare = readFileSync(path.join(ROOT, 'data/tinyshakespeare.txt'), 'utf8');
    writeFileSync(path.join(folder, 'text.txt'), shakespeare.slice(0, 6000));
    process.chdir(folder);
  });
  afterAll(() => {
    process.chdir(here);
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    folder,
    /** Path of a file of the repository. */
    repository: (...parts: string[]) => path.join(ROOT, ...parts),
    write: (name: string, text: string) => writeFileSync(path.join(folder, name), text),
    read: (name: string) => readFileSync(path.join(folder, name)),
  };
}

/** Flags of a run of a second or so. */
export const SMALL_RUN = [
  ...['--model', 'models/stories260K', '--data', 'text.txt'],
  ...['--batch-size', '2', '--max-length', '32', '--evaluation-examples', '4'],
];

export interface Captured {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process. */
export async function lft(...argv: string[]): Promise<Captured> {
  const written = { stdout: '', stderr: '' };
  const stream = (name: keyof typeof written) => ({
    write(text: string) {
      written[name] += text;
    },
  });
  const code = await main(argv, { stdout: stream('stdout'), stderr: stream('stderr') });
  return { code, ...written };
}

/** The objects of --json. */
export function events(stdout: string): Record<string, unknown>[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
