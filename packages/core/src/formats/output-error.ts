import { LftError } from '../errors/lft-error.js';

const CAUSES: Readonly<Record<string, readonly [cause: string, remedy: string]>> = {
  ENOSPC: ['the disk is full', 'Free some space or choose a folder on another disk'],
  EDQUOT: ['your disk quota is used up', 'Free some space or choose a folder on another disk'],
  EACCES: ['permission was denied', 'Choose a folder that you may write to, or change its permissions'],
  EPERM: ['permission was denied', 'Choose a folder that you may write to, or change its permissions'],
  EROFS: ['the file system is read-only', 'Choose a folder on another file system'],
  ENOTDIR: ['a part of its path is a file, not a folder', 'Choose another folder, or move that file away'],
  ENOENT: ['its folder does not exist', 'Create the folder, or choose another one'],
  EEXIST: ['there is a file of that name', 'Choose another name, or move that file away'],
  EISDIR: ['there is a folder of that name', 'Choose another name, or move that folder away'],
  EFBIG: ['the file is larger than the file system allows', 'Choose a folder on another file system'],
};

/** Says why a file or folder could not be written, and what to do. */
export function outputError(target: string, error: unknown): LftError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const [cause, remedy] = CAUSES[code] ?? [message, 'Choose another folder'];
  return new LftError(
    'output-not-writable',
    `${target} cannot be written: ${cause}. ${remedy}. Nothing that was saved before has been touched.`,
    { path: target, cause: code },
    { cause: error },
  );
}
