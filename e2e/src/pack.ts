import { readdirSync } from 'node:fs';
import path from 'node:path';
import { succeed } from './command.js';
import { repository, temporaryFolder } from './repository.js';

/** Packs packages/`folder` as it would be published. @returns the tarball's path */
export function pack(folder: string): string {
  const target = temporaryFolder();
  succeed('pnpm', ['pack', '--pack-destination', target], path.join(repository, 'packages', folder));
  return path.join(target, readdirSync(target).find((file) => file.endsWith('.tgz'))!);
}
