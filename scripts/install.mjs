import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, since } from './run.mjs';
import { manifest, root, workspacePackages } from './workspace.mjs';

const stamp = path.join(root, 'node_modules', '.lft-installed');

/** What the installed dependencies depend on: the lockfile, and which packages there are to link. */
function fingerprint() {
  const hash = createHash('sha256').update(readFileSync(path.join(root, 'pnpm-lock.yaml')));
  for (const { name } of workspacePackages()) hash.update(`\n${name}`);
  return hash.digest('hex');
}

function isInstalled() {
  return (
    existsSync(stamp) &&
    readFileSync(stamp, 'utf8') === fingerprint() &&
    workspacePackages().every(
      ({ folder, manifest }) =>
        existsSync(path.join(folder, 'node_modules')) || !(manifest.dependencies ?? manifest.devDependencies),
    )
  );
}

const OFFLINE =
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ERR_PNPM_META_FETCH_FAIL|ERR_PNPM_NO_OFFLINE/;

// pnpm waits for a minute and more by default before it says that there is no network.
const RETRIES = ['--fetch-retries=2', '--fetch-retry-mintimeout=2000', '--fetch-retry-factor=3'];

/** What went wrong, and what to do about it. */
function explain(output, packageManager) {
  const unreachable = output.split('\n').find((line) => OFFLINE.test(line));
  if (unreachable) {
    return `The package registry cannot be reached (${unreachable.trim()}). Installing needs it once: check the network and any proxy
(\`npm config get registry\`, \`npm config get proxy\`), then run the same command again.`;
  }
  if (output.includes('ERR_PNPM_OUTDATED_LOCKFILE')) {
    return `${output}\n\nA package.json and pnpm-lock.yaml disagree: run \`npx ${packageManager} install\` and commit the lockfile.`;
  }
  return `${output}\n\nMend what it says and run the same command again.`;
}

/**
 * Installs the workspace's dependencies, when they are missing or the lockfile changed. It uses the pnpm that package.json names, by
 * way of npx: Node with its npm is all that has to be there.
 * @param lockfile `frozen` fails when a package.json and the lockfile disagree, `update` brings the lockfile up to date
 * @throws Error with the remedy, when the dependencies cannot be installed
 */
export async function install({ lockfile = 'frozen' } = {}) {
  if (lockfile === 'frozen' && isInstalled()) return;
  const packageManager = manifest(root).packageManager;
  const start = performance.now();
  process.stdout.write(`Installing the dependencies (${packageManager}) ... `);
  const { code, output } = await run(
    'npx',
    ['-y', packageManager, 'install', `--${lockfile === 'frozen' ? '' : 'no-'}frozen-lockfile`, ...RETRIES],
    { env: { CI: 'true' }, output: 'keep' },
  );
  if (code !== 0) {
    process.stdout.write('failed\n');
    throw new Error(`The dependencies could not be installed.\n\n${explain(output.trim(), packageManager)}`);
  }
  writeFileSync(stamp, fingerprint());
  process.stdout.write(`done in ${since(start)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await install();
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
