import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { outputError } from './output-error.js';

/** A large write is handed to the system in parts, since Node takes less than 2 GiB at once. */
const CHUNK_BYTES = 1 << 26;

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(CHUNK_BYTES, bytes.length - done));
    done += bytesWritten;
  }
}

/** Makes the rename itself last. Not every system lets one open a folder; there the rename is as safe as the system makes it. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {}
}

/**
 * Writes a file so that under `target` there is always either what was there before or all that is new: under a temporary name beside it
 * (`.lft-*.tmp`), synced, then renamed. The temporary file goes when anything fails.
 * @param produce calls `write` for one part after another, and awaits it; what it throws is passed on
 * @throws LftError output-not-writable
 */
export async function writeAtomic(
  target: string,
  produce: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const folder = path.dirname(target);
  const temporary = path.join(folder, `.lft-${process.pid}-${randomBytes(6).toString('hex')}.tmp`);
  const onDisk = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error) => {
      throw outputError(target, error);
    });

  const handle = await onDisk(open(temporary, 'wx'));
  try {
    try {
      await produce((bytes) => onDisk(writeFully(handle, bytes)));
      await onDisk(handle.sync());
    } finally {
      await onDisk(handle.close());
    }
    await onDisk(rename(temporary, target));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
  await syncFolder(folder);
}

/** Writes a small file at once, as {@link writeAtomic} does. @throws LftError output-not-writable */
export async function writeFileAtomic(target: string, content: string | Uint8Array): Promise<void> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  await writeAtomic(target, (write) => write(bytes));
}
