/** `npm run bench -- [--quick] …`: installs and builds what is missing, then compares this library with PyTorch + PEFT. */
import { install } from '../../scripts/install.mjs';
import { turbo } from '../../scripts/run.mjs';
import { workspacePackages } from '../../scripts/workspace.mjs';

async function build() {
  // Selectors and backends are looked up by name, and only those that are there are built.
  const wanted = [
    '@lft/core',
    '@lft/data',
    '@lft/lora',
    '@lft/ist',
    '@lft/lisa',
    '@lft/backend-native',
    '@lft/backend-tensorflow',
  ];
  const filters = workspacePackages()
    .filter(({ name }) => wanted.includes(name))
    .map(({ name }) => `--filter=${name}...`);
  const { code, output } = await turbo(['run', 'build', ...filters, '--output-logs=errors-only'], { output: 'keep' });
  if (code !== 0) throw new Error(`${output.trim()}\n\nThe packages could not be built: the first error is above.`);
}

try {
  await install();
  await build();
  // Only now, since it needs what was installed.
  const { compare } = await import('./compare.mjs');
  await compare(process.argv.slice(2));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
