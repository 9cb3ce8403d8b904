import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { LftError, nearestName } from '@lft/core';

/**
 * @throws LftError file-missing, with the nearest name that the folder has; data-invalid for a folder
 */
export async function requireFile(path: string): Promise<void> {
  const facts = await stat(path).catch(() => undefined);
  if (facts?.isDirectory()) throw new LftError('data-invalid', `${path} is a folder; name a data file in it`, { path });
  if (facts) return;
  const near = nearestName(basename(path), await readdir(dirname(path)).catch(() => []));
  const hint = near ? `did you mean "${near}"?` : `paths are taken from ${process.cwd()}`;
  throw new LftError('file-missing', `there is no data file ${path}; ${hint}`, { path });
}

/** SHA-256 of a file's bytes, in hex. */
export async function fileHash(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/**
 * A whole text file; a byte order mark is taken off.
 * @throws LftError file-missing; data-invalid when it isn't UTF-8
 */
export async function readText(path: string): Promise<string> {
  await requireFile(path);
  return decodeUtf8(await readFile(path), path);
}

/**
 * @param where how to name the bytes in an error
 * @throws LftError data-invalid when they aren't UTF-8
 */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new LftError('data-invalid', `${where}: not UTF-8; save the file in UTF-8`, { where }, { cause: error });
  }
}
