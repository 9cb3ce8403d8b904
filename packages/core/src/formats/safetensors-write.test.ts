import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Dtype } from './dtype.js';
import { SafetensorsFile } from './safetensors-file.js';
import { writeSafetensors } from './safetensors-write.js';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lft-write-'));
  file = path.join(folder, 'model.safetensors');
});
afterEach(async () => {
  jest.restoreAllMocks();
  await rm(folder, { recursive: true });
});

const tensor = (name: string, dtype: Dtype, shape: number[], bytes: number[]) => ({
  name,
  dtype,
  shape,
  data: Uint8Array.from(bytes),
});

async function headerOf(): Promise<string> {
  const bytes = await readFile(file);
  return bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString();
}

test('what is written is what is read', async () => {
  const inputs = [
    tensor('scalar', 'F32', [], [1, 2, 3, 4]),
    tensor('none', 'BF16', [0, 4], []),
    tensor('größe', 'BOOL', [3], [1, 0, 1]),
    tensor('__proto__', 'I16', [1, 2], [5, 6, 7, 8]),
  ];
  await writeSafetensors(file, inputs, { format: 'pt', note: 'ü "quoted"' });
  const read = await SafetensorsFile.open(file);
  expect(read.metadata).toEqual({ format: 'pt', note: 'ü "quoted"' });
  expect(read.tensors.size).toBe(4);
  for (const { name, dtype, shape, data } of inputs) {
    expect(read.tensors.get(name)).toMatchObject({ dtype, shape, bytes: data.length });
    expect(await read.read(name)).toEqual(data);
  }
  await read.close();
});

test('the bytes are those that the reference implementation writes', async () => {
  // safetensors 0.8.0: save_file({'b': float32 [1., -2.], 'a': bfloat16 [3.]}, metadata={'format': 'pt'})
  const expected =
    '{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]}}    ';
  await writeSafetensors(file, [
    tensor('a', 'BF16', [1], [0x40, 0x40]),
    tensor('b', 'F32', [2], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]),
  ]);
  expect(await headerOf()).toBe(expected);
  expect((await readFile(file)).subarray(8 + expected.length).toString('hex')).toBe('0000803f000000c04040');
});

test('the data begins at a multiple of 8, and wide types come first, then names by their UTF-8 bytes', async () => {
  await writeSafetensors(file, [
    tensor('10', 'U8', [1], [1]),
    tensor('\u{10000}', 'F32', [0], []),
    tensor('\uffff', 'F32', [0], []),
    tensor('f16', 'F16', [0], []),
    tensor('bf16', 'BF16', [0], []),
    tensor('i64', 'I64', [0], []),
    tensor('2', 'U8', [1], [2]),
  ]);
  const header = await headerOf();
  expect(Buffer.byteLength(header) % 8).toBe(0);
  const order = [...header.matchAll(/"([^"]+)":\{"dtype/g)].map((match) => match[1]);
  expect(order).toEqual(['i64', '\uffff', '\u{10000}', 'bf16', 'f16', '10', '2']);
  expect(header.startsWith('{"__metadata__":{"format":"pt"},')).toBe(true);
});

test('lazy data is asked for one tensor after another, in the order of the file', async () => {
  const events: string[] = [];
  const lazy = (name: string, dtype: Dtype) => ({
    name,
    dtype,
    shape: [8],
    data: async () => {
      events.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      events.push(`${name} ends`);
      return new Uint8Array(dtype === 'F32' ? 32 : 16);
    },
  });
  await writeSafetensors(file, [lazy('half', 'F16'), lazy('single', 'F32')]);
  expect(events).toEqual(['single begins', 'single ends', 'half begins', 'half ends']);
});

test.each([
  [
    'too few bytes',
    [tensor('w', 'F32', [2, 2], [1, 2, 3])],
    'tensor "w" has 3 bytes of data, but [2,2] of F32 takes 16',
  ],
  ['an impossible shape', [tensor('w', 'F32', [-1], [])], 'tensor "w" cannot have the shape [-1] of F32'],
  ['a name given twice', [tensor('w', 'U8', [0], []), tensor('w', 'U8', [0], [])], 'tensor "w" is given twice'],
  ['the reserved name', [tensor('__metadata__', 'U8', [0], [])], 'tensor "__metadata__" has a reserved name'],
])('%s: an error before anything is written', async (_, tensors, message) => {
  await expect(writeSafetensors(file, tensors)).rejects.toMatchObject({
    code: 'tensor-shape',
    message: expect.stringContaining(message),
  });
  expect(await readdir(folder)).toEqual([]);
});

test('lazy data of the wrong length leaves what was saved before', async () => {
  await writeFile(file, 'old');
  const tensors = [{ name: 'w', dtype: 'F32' as const, shape: [2], data: () => new Uint8Array(9) }];
  await expect(writeSafetensors(file, tensors)).rejects.toMatchObject({ code: 'tensor-shape' });
  expect(await readFile(file, 'utf8')).toBe('old');
  expect(await readdir(folder)).toEqual(['model.safetensors']);
});

test('a disk that fills up between two tensors leaves what was saved before', async () => {
  await writeFile(file, 'old');
  const handle = await open(file, 'r');
  await handle.close();
  const prototype = Object.getPrototypeOf(handle);
  const write = prototype.write;
  let calls = 0;
  jest.spyOn(prototype, 'write').mockImplementation(function (this: unknown, ...args: unknown[]) {
    calls++;
    if (calls > 2) return Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }));
    return write.apply(this, args);
  });
  const tensors = [tensor('a', 'U8', [1], [1]), tensor('b', 'U8', [1], [2])];
  await expect(writeSafetensors(file, tensors)).rejects.toMatchObject({
    code: 'output-not-writable',
    message: expect.stringContaining('the disk is full'),
  });
  jest.restoreAllMocks();
  expect(await readFile(file, 'utf8')).toBe('old');
  expect(await readdir(folder)).toEqual(['model.safetensors']);
});
