import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LftError } from '@lft/core';
import { type ReportOptions, renderReport } from './render-report.js';
import { readRun } from './run-record.js';

/**
 * Writes report.html into a run folder: of a finished run, or of one that is still going on.
 * @returns the path of the file
 * @throws LftError file-missing when the folder is no run, output-not-writable
 */
export async function writeReport(runFolder: string, options: ReportOptions = {}): Promise<string> {
  const page = renderReport(await readRun(runFolder), options);
  const path = join(runFolder, 'report.html');
  try {
    await writeFile(`${path}.partial`, page);
    await rename(`${path}.partial`, path);
  } catch (error) {
    throw new LftError(
      'output-not-writable',
      `cannot write ${path} (${(error as Error).message}): make the folder writable, or copy the run elsewhere`,
      { path },
      { cause: error },
    );
  }
  return path;
}
