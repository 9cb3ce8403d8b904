import { mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { LftError } from '../errors/lft-error.js';
import { SafetensorsFile } from './safetensors-file.js';
import { writeSafetensors } from './safetensors-write.js';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lft-read-'));
  file = path.join(folder, 'model.safetensors');
});
afterEach(async () => {
  jest.restoreAllMocks();
  await rm(folder, { recursive: true });
});

/** A file with this header and this many bytes of data, right or wrong. */
function bytesOf(header: unknown, dataBytes = 0): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]);
}

const prefixOf = (length: bigint) => {
  const prefix = Buffer.alloc(16);
  prefix.writeBigUInt64LE(length);
  return prefix;
};

const f32 = (shape: unknown, ...offsets: unknown[]) => ({ dtype: 'F32', shape, data_offsets: offsets });

const bytes = (values: { buffer: ArrayBufferLike; byteOffset: number; byteLength: number }) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

describe('a damaged file is refused with what is wrong and what to do', () => {
  test.each<[string, Buffer, string]>([
    ['empty', Buffer.alloc(0), 'the file is empty'],
    ['shorter than the length', Buffer.alloc(5), 'the file has 5 bytes; a safetensors file has at least 8'],
    ['header larger than the file', prefixOf(100n), 'its header should have 100 bytes, but the file has 16'],
    ['header length of 64 bits', prefixOf(2n ** 64n - 1n), 'but the file has 16: it is cut off or of another format'],
    ['header of no bytes', bytesOf(''), 'its header of 0 bytes is not JSON'],
    ['header not JSON', bytesOf('{"a": '), 'its header of 6 bytes is not JSON'],
    [
      'header not UTF-8',
      Buffer.concat([prefixOf(1n).subarray(0, 8), Buffer.of(0xff)]),
      'is not JSON (it is not UTF-8)',
    ],
    ['header a list', bytesOf([]), 'its header is not a JSON object'],
    ['header null', bytesOf('null'), 'its header is not a JSON object'],
    ['metadata a list', bytesOf({ __metadata__: [] }), '__metadata__ in its header is not an object'],
    ['metadata not text', bytesOf({ __metadata__: { step: 3 } }), '__metadata__ "step" is 3, not a string'],
    ['tensor a number', bytesOf({ w: 3 }), 'tensor "w" is described by 3, not by an object'],
    ['dtype unknown', bytesOf({ w: { ...f32([], 0, 4), dtype: 'F31' } }, 4), 'tensor "w" has the unknown dtype "F31"'],
    ['dtype missing', bytesOf({ w: { shape: [], data_offsets: [0, 4] } }, 4), 'has the unknown dtype undefined'],
    ['shape missing', bytesOf({ w: f32(undefined, 0, 4) }, 4), 'tensor "w" has the shape undefined, not a list'],
    ['shape negative', bytesOf({ w: f32([-1], 0, 4) }, 4), 'has the shape [-1], not a list of whole numbers from 0'],
    ['shape with a fraction', bytesOf({ w: f32([0.5], 0, 4) }, 4), 'has the shape [0.5], not a list of whole numbers'],
    ['shape of text', bytesOf({ w: f32(['1'], 0, 4) }, 4), 'has the shape ["1"], not a list of whole numbers from 0'],
    [
      'shape too large',
      bytesOf({ w: f32([2 ** 30, 2 ** 30], 0, 4) }, 4),
      'of F32, which no file can hold in whole bytes',
    ],
    ['offsets missing', bytesOf({ w: { dtype: 'F32', shape: [] } }, 4), 'tensor "w" has the data_offsets undefined'],
    ['one offset', bytesOf({ w: f32([], 0) }, 4), 'has the data_offsets [0], not two whole numbers from 0'],
    ['offset negative', bytesOf({ w: f32([], -4, 0) }, 4), 'has the data_offsets [-4,0], not two whole numbers from 0'],
    ['offsets backwards', bytesOf({ w: f32([], 4, 0) }, 4), 'has data_offsets that run backwards, from 4 to 0'],
    [
      'length not that of the shape',
      bytesOf({ w: f32([2], 0, 4) }, 4),
      'has 4 bytes (data_offsets 0 to 4), but [2] of F32 takes 8',
    ],
    [
      'overlap',
      bytesOf({ a: f32([2], 0, 8), b: f32([], 4, 8) }, 8),
      'tensor "b" begins at byte 4, inside "a", which ends at 8',
    ],
    [
      'hole at the start',
      bytesOf({ a: f32([], 4, 8) }, 8),
      'begins at byte 4, but the first byte of data is at 0: 4 bytes belong to no tensor',
    ],
    [
      'hole between',
      bytesOf({ b: f32([], 12, 16), a: f32([], 0, 4) }, 16),
      'tensor "b" begins at byte 12, but the end of "a" is at 4: 8 bytes',
    ],
    [
      'cut off',
      bytesOf({ a: f32([], 0, 4), b: f32([], 4, 8) }, 5),
      'it is cut off: its header tells of 8 bytes of data and there are 5, so that tensor "b" is not all there',
    ],
    [
      'cut off early',
      bytesOf({ a: f32([], 0, 4), b: f32([], 4, 8) }, 1),
      'so that 2 tensors from "a" on are not all there',
    ],
    [
      'bytes behind',
      bytesOf({ a: f32([], 0, 4) }, 9),
      'its header tells of 4 bytes of data and there are 9: 5 bytes behind them belong to no tensor',
    ],
  ])('%s', async (_, content, message) => {
    await writeFile(file, content);
    const error = await SafetensorsFile.open(file).catch((e) => e);
    expect(LftError.is(error)).toBe(true);
    expect(error.code).toBe('safetensors-invalid');
    expect(error.facts.path).toBe(file);
    expect(error.message.startsWith(`${file}: `)).toBe(true);
    expect(error.message).toContain(message);
    expect(error.message).toContain('Download or copy the file again.');
  });

  test('a header above the format’s limit', async () => {
    await writeFile(file, prefixOf(100_000_001n));
    await truncate(file, 200_000_000);
    await expect(SafetensorsFile.open(file)).rejects.toMatchObject({
      code: 'safetensors-invalid',
      message: expect.stringContaining('its header should have 100000001 bytes; the format allows 100000000'),
    });
  });

  test('a pointer of Git LFS', async () => {
    await writeFile(file, 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n');
    await expect(SafetensorsFile.open(file)).rejects.toMatchObject({
      code: 'safetensors-invalid',
      message: expect.stringContaining('is a Git LFS pointer of 65 bytes, not the file itself. Run `git lfs pull`'),
    });
  });

  test('a file that is missing', async () => {
    await expect(SafetensorsFile.open(file)).rejects.toMatchObject({
      code: 'file-missing',
      message: `${file}: there is no such file. Check the path, or download the file.`,
    });
  });

  test('a folder', async () => {
    await expect(SafetensorsFile.open(folder)).rejects.toMatchObject({
      code: 'file-missing',
      message: expect.stringContaining('is a folder, not a safetensors file'),
    });
  });

  test('a file cut off while it is open', async () => {
    await writeFile(file, bytesOf({ a: f32([], 0, 4), b: f32([2], 4, 12) }, 12));
    const read = await SafetensorsFile.open(file);
    const size = bytesOf({ a: f32([], 0, 4), b: f32([2], 4, 12) }, 12).length;
    await truncate(file, size - 3);
    expect(await read.read('a')).toEqual(new Uint8Array(4));
    await expect(read.read('b')).rejects.toMatchObject({
      code: 'safetensors-invalid',
      message: `${file}: it ends at byte ${size - 3}, 3 bytes early: it became shorter while it was open. Download or copy the file again.`,
    });
    await read.close();
  });
});

describe('a sound file', () => {
  test('may be without tensors, metadata and padding', async () => {
    await writeFile(file, bytesOf('{}'));
    const read = await SafetensorsFile.open(file);
    expect(read.tensors.size).toBe(0);
    expect(read.metadata).toEqual({});
    await expect(read.read('w')).rejects.toMatchObject({ message: `${file}: there is no tensor "w"; there are none` });
    await read.close();
  });

  test('may name its tensors in any order, and have empty ones', async () => {
    await writeFile(file, bytesOf({ c: f32([1], 4, 8), b: f32([0], 4, 4), a: f32([], 0, 4) }, 8));
    const read = await SafetensorsFile.open(file);
    expect([...read.tensors.keys()]).toEqual(['a', 'b', 'c']);
    expect(await read.readFloat32('b')).toEqual(new Float32Array(0));
    await read.close();
  });

  test('may hold types that are not converted: their bytes can be read, their values not', async () => {
    await writeSafetensors(file, [{ name: 'w', dtype: 'F8_E4M3', shape: [2], data: Uint8Array.of(1, 2) }]);
    const read = await SafetensorsFile.open(file);
    expect(await read.read('w')).toEqual(Uint8Array.of(1, 2));
    for (const work of [read.readFloat32('w'), read.readBFloat16('w')]) {
      await expect(work).rejects.toMatchObject({
        code: 'safetensors-invalid',
        message: expect.stringContaining('tensor "w" is F8_E4M3; only F64, F32, F16, BF16 are read as floats'),
      });
    }
    await read.close();
  });

  test('an unknown tensor is an error that names the nearest', async () => {
    await writeSafetensors(file, [{ name: 'model.norm.weight', dtype: 'U8', shape: [0], data: new Uint8Array(0) }]);
    const read = await SafetensorsFile.open(file);
    await expect(read.read('model.norm.weigth')).rejects.toMatchObject({
      code: 'tensor-missing',
      message: `${file}: there is no tensor "model.norm.weigth"; did you mean "model.norm.weight"?`,
    });
    await read.close();
  });
});

describe('values', () => {
  let read: SafetensorsFile;
  beforeEach(async () => {
    await writeSafetensors(file, [
      { name: 'f64', dtype: 'F64', shape: [2], data: bytes(Float64Array.of(0.1, -1e300)) },
      { name: 'f32', dtype: 'F32', shape: [3], data: bytes(Float32Array.of(0.1, -2, 3)) },
      { name: 'f16', dtype: 'F16', shape: [2], data: bytes(Uint16Array.of(0x3c00, 0x8001)) },
      { name: 'bf16', dtype: 'BF16', shape: [2], data: bytes(Uint16Array.of(0x3f80, 0x7f81)) },
      { name: 'u8', dtype: 'U8', shape: [4], data: Uint8Array.of(1, 2, 3, 4) },
    ]);
    read = await SafetensorsFile.open(file);
  });
  afterEach(() => read.close());

  test.each([
    ['f64', [Math.fround(0.1), Number.NEGATIVE_INFINITY]],
    ['f32', [Math.fround(0.1), -2, 3]],
    ['f16', [1, -(2 ** -24)]],
    ['bf16', [1, Number.NaN]],
  ])('%s as f32', async (name, expected) => {
    expect([...(await read.readFloat32(name))]).toEqual(expected);
  });

  test.each([
    ['f64', [0x3dcd, 0xff80]],
    ['f32', [0x3dcd, 0xc000, 0x4040]],
    ['f16', [0x3f80, 0xb380]],
    ['bf16', [0x3f80, 0x7f81]],
  ])('%s as bf16', async (name, expected) => {
    expect([...(await read.readBFloat16(name))]).toEqual(expected);
  });

  test('part of a tensor', async () => {
    expect([...(await read.readRange('u8', 1, 2))]).toEqual([2, 3]);
    expect([...(await read.readRange('u8', 4, 0))]).toEqual([]);
  });

  test.each([
    [3, 2],
    [-1, 1],
    [0, -1],
    [0.5, 1],
  ])('%p + %p is not part of it', async (offset, length) => {
    await expect(read.readRange('u8', offset, length)).rejects.toMatchObject({
      code: 'tensor-shape',
      message: expect.stringContaining(`tensor "u8" has 4 bytes; ${length} bytes from byte ${offset} on are not in it`),
    });
  });

  test('each read has a buffer of its own', async () => {
    const [a, b] = await Promise.all([read.read('u8'), read.read('u8')]);
    expect(a.byteOffset).toBe(0);
    expect(a.buffer.byteLength).toBe(4);
    a.fill(9);
    expect([...b]).toEqual([1, 2, 3, 4]);
  });

  test('bf16 of more than one chunk is converted to its end', async () => {
    const values = Uint16Array.from({ length: 9_000_000 }, (_, i) => i % 0x7f80);
    const large = path.join(folder, 'large.safetensors');
    await writeSafetensors(large, [{ name: 'w', dtype: 'BF16', shape: [9_000_000], data: bytes(values) }]);
    const opened = await SafetensorsFile.open(large);
    const floats = await opened.readFloat32('w');
    await opened.close();
    const high = new Uint32Array(floats.buffer);
    expect(values.every((value, i) => high[i] === value << 16)).toBe(true);
  });
});

test('only the bytes that are asked for are read', async () => {
  const content = bytesOf({ huge: f32([2 ** 29], 0, 2 ** 31), small: f32([2], 2 ** 31, 2 ** 31 + 8) });
  await writeFile(file, content);
  await truncate(file, content.length + 2 ** 31 + 8);

  const probe = await open(file, 'r');
  await probe.close();
  const reads = jest.spyOn(Object.getPrototypeOf(probe), 'read');
  const read = await SafetensorsFile.open(file);
  expect([...(await read.readFloat32('small'))]).toEqual([0, 0]);
  await read.readRange('huge', 2 ** 30, 100);
  await read.close();

  const asked = reads.mock.calls.map((call) => call[2] as number);
  expect(asked).toEqual([8, content.length - 8, 8, 100]);
});
