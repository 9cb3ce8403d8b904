import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder for one test file, removed after it. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'lft-data-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return {
    path: folder,
    /** @returns the path of the file written */
    write(name: string, content: string | Uint8Array): string {
      const path = join(folder, name);
      writeFileSync(path, content);
      return path;
    },
    /** One object a line. */
    writeRows(name: string, rows: readonly unknown[]): string {
      return this.write(name, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    },
  };
}
