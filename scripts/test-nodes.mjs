/**
 * `npm run test:nodes [-- MAJOR...]`: runs the quickstart's program and the tests of the packages under other versions of Node, by
 * default 22 and 24. npm brings each as a package.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { install } from './install.mjs';
import { run, turbo } from './run.mjs';
import { root, workspacePackages } from './workspace.mjs';

const majors = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24'];
const jest = path.join('node_modules', 'jest', 'bin', 'jest.js');
const quickstart = path.join('examples', 'quickstart', 'dist', 'main.js');
const projects = workspacePackages()
  .filter(({ name, folder }) => name !== '@lft/e2e' && existsSync(path.join(folder, 'jest.config.cjs')))
  .map(({ folder }) => path.relative(root, folder));

/** Runs `node ARGS` with the given version of Node. @returns the exit code */
async function withNode(major, args) {
  return (await run('npx', ['-y', '-p', `node@${major}`, '--', 'node', ...args])).code;
}

try {
  await install();
  const built = await turbo(['run', 'build', '--output-logs=errors-only']);
  if (built.code !== 0) throw new Error('The packages could not be built: the first error is above.');
  const failed = [];
  for (const major of majors) {
    console.log(`\n== Node ${major}`);
    await withNode(major, ['--version']);
    if (existsSync(path.join(root, quickstart)) && (await withNode(major, [quickstart])) !== 0)
      failed.push(`quickstart, Node ${major}`);
    if ((await withNode(major, [jest, '--maxWorkers=2', '--projects', ...projects])) !== 0)
      failed.push(`tests, Node ${major}`);
  }
  console.log(
    failed.length > 0 ? `\nFailed: ${failed.join('; ')}` : `\nAll passed under Node ${majors.join(' and ')}.`,
  );
  process.exitCode = failed.length > 0 ? 1 : 0;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
