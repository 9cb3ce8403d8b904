import { mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { writeAtomic, writeFileAtomic } from './atomic-write.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lft-atomic-'));
});
afterEach(async () => {
  jest.restoreAllMocks();
  await rm(folder, { recursive: true });
});

/** The system's error as every open file of this process would raise it. */
async function failing(method: 'write' | 'sync', code: string): Promise<void> {
  const handle = await open(path.join(folder, 'probe'), 'w');
  await handle.close();
  await rm(path.join(folder, 'probe'));
  jest
    .spyOn(Object.getPrototypeOf(handle), method)
    .mockRejectedValue(Object.assign(new Error(`${code}: ${method}`), { code }));
}

test('text and bytes are written as they are', async () => {
  await writeFileAtomic(path.join(folder, 'a.txt'), 'grün\n');
  await writeFileAtomic(path.join(folder, 'b.bin'), Uint8Array.of(0, 255));
  expect(await readFile(path.join(folder, 'a.txt'), 'utf8')).toBe('grün\n');
  expect([...(await readFile(path.join(folder, 'b.bin')))]).toEqual([0, 255]);
});

test('a file that was there is replaced, and nothing else is left', async () => {
  const file = path.join(folder, 'a.txt');
  await writeFile(file, 'old and longer');
  await writeFileAtomic(file, 'new');
  expect(await readFile(file, 'utf8')).toBe('new');
  expect(await readdir(folder)).toEqual(['a.txt']);
});

test('until all is written, the old file is under the name', async () => {
  const file = path.join(folder, 'a.txt');
  await writeFile(file, 'old');
  await writeAtomic(file, async (write) => {
    await write(Buffer.from('ne'));
    expect(await readFile(file, 'utf8')).toBe('old');
    await write(Buffer.from('w'));
  });
  expect(await readFile(file, 'utf8')).toBe('new');
});

test('an error of the producer passes unchanged, and the old file stays', async () => {
  const file = path.join(folder, 'a.txt');
  await writeFile(file, 'old');
  const error = Object.assign(new Error('source vanished'), { code: 'ENOENT' });
  await expect(writeAtomic(file, () => Promise.reject(error))).rejects.toBe(error);
  expect(await readFile(file, 'utf8')).toBe('old');
  expect(await readdir(folder)).toEqual(['a.txt']);
});

test.each([
  ['write', 'ENOSPC', 'the disk is full. Free some space'],
  ['sync', 'EDQUOT', 'quota is used up. Free some space'],
  ['write', 'EIO', 'EIO: write. Choose another folder'],
] as const)('when %s fails with %s, the old file stays and no temporary one', async (method, code, words) => {
  const file = path.join(folder, 'a.txt');
  await writeFile(file, 'old');
  await failing(method, code);
  const error = await writeFileAtomic(file, 'new').catch((e) => e);
  expect(error).toMatchObject({ code: 'output-not-writable', facts: { path: file, cause: code } });
  expect(error.message).toContain(`${file} cannot be written: `);
  expect(error.message).toContain(words);
  expect(error.message).toContain('Nothing that was saved before has been touched');
  jest.restoreAllMocks();
  expect(await readFile(file, 'utf8')).toBe('old');
  expect(await readdir(folder)).toEqual(['a.txt']);
});

test('a folder that is a file is an error that says so', async () => {
  await writeFile(path.join(folder, 'file'), '');
  await expect(writeFileAtomic(path.join(folder, 'file', 'a.txt'), '')).rejects.toMatchObject({
    code: 'output-not-writable',
    facts: { cause: 'ENOTDIR' },
    message: expect.stringContaining('a part of its path is a file, not a folder'),
  });
});

test('a folder that is missing is an error that says so', async () => {
  await expect(writeFileAtomic(path.join(folder, 'none', 'a.txt'), '')).rejects.toMatchObject({
    code: 'output-not-writable',
    facts: { cause: 'ENOENT' },
    message: expect.stringContaining('its folder does not exist. Create the folder'),
  });
});

test('a folder under the name is an error, and stays', async () => {
  await mkdir(path.join(folder, 'name'));
  await expect(writeFileAtomic(path.join(folder, 'name'), 'text')).rejects.toMatchObject({
    code: 'output-not-writable',
  });
  expect(await readdir(folder)).toEqual(['name']);
});
