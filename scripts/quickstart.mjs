/** `npm run quickstart [-- ARGS]`: installs and builds what is missing, then runs examples/quickstart. */
import path from 'node:path';
import { install } from './install.mjs';
import { runNode, since, turbo } from './run.mjs';
import { root } from './workspace.mjs';

async function build() {
  const start = performance.now();
  process.stdout.write('Building the packages ... ');
  const { code, output } = await turbo(
    ['run', 'build', '--filter=@lft/cli...', '--filter=@lft-examples/quickstart...', '--output-logs=errors-only'],
    { output: 'keep' },
  );
  if (code !== 0) {
    process.stdout.write('failed\n');
    throw new Error(`${output.trim()}\n\nThe packages could not be built: the first error is above.`);
  }
  process.stdout.write(`done in ${since(start)}\n`);
}

try {
  await install();
  await build();
  const program = path.join(root, 'examples', 'quickstart', 'dist', 'main.js');
  process.exitCode = (await runNode([program, ...process.argv.slice(2)])).code;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
