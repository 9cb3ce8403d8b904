import { closeSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { loadModel, SafetensorsFile, type SafetensorsInput, useBackend, writeSafetensors } from '@lft/core';
import { tinyModel } from '@lft/testing';
import { loadAddon } from './load-addon.js';
import { nativeProblem, useNative } from './use-native.js';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** Whether this process maps the file. */
const maps = (file: string) => readFileSync('/proc/self/maps', 'utf8').includes(file);

const problem = nativeProblem();
(problem ? describe.skip : describe)('weights where they lie in the file', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'lft-map-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('every tensor is that of plain reading, whatever its type and however it is aligned', async () => {
    const file = path.join(folder, 'mixed.safetensors');
    const tensor = (name: string, dtype: SafetensorsInput['dtype'], values: NodeJS.TypedArray): SafetensorsInput => ({
      name,
      dtype,
      shape: [values.length],
      data: () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    });
    const bits = Uint16Array.from({ length: 3001 }, (_, i) => 0x3f00 + (i % 200));
    const floats = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i));
    await writeSafetensors(file, [
      tensor('bf16', 'BF16', bits),
      tensor('f32 at an even byte', 'F32', floats),
      tensor('odd', 'U8', Uint8Array.of(7)),
      tensor('bf16 at an odd byte', 'BF16', bits),
      tensor('one more byte', 'U8', Uint8Array.of(9)),
      tensor('f16', 'F16', bits),
      tensor('f32', 'F32', floats),
      tensor('nothing', 'F32', new Float32Array(0)),
    ]);
    const { mapFile } = loadAddon(undefined);
    const mapped = await SafetensorsFile.open(file, mapFile);
    const plain = await SafetensorsFile.open(file);
    for (const name of ['bf16', 'bf16 at an odd byte', 'f16', 'f32', 'f32 at an even byte', 'nothing']) {
      expect(await mapped.readFloat32(name)).toEqual(await plain.readFloat32(name));
      expect(await mapped.readBFloat16(name)).toEqual(await plain.readBFloat16(name));
      expect(await mapped.read(name)).toEqual(await plain.read(name));
    }
    expect(await mapped.readRange('f32', 401, 9)).toEqual(await plain.readRange('f32', 401, 9));
    await Promise.all([mapped.close(), plain.close()]);
  });

  test('what is not needed again is given back, and read again where it is', () => {
    const file = path.join(folder, 'pages');
    const bytes = 16e6;
    writeFileSync(file, new Uint8Array(bytes).fill(7));
    const { mapFile, forgetPages } = loadAddon(undefined);
    const handle = openSync(file, 'r');
    const data = new Uint8Array(mapFile(handle, 0, bytes, file));
    closeSync(handle);
    const resident = () => Number(/RssFile:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
    const sum = (values: Uint8Array) => values.reduce((total, value) => total + value, 0);
    expect(sum(data)).toBe(7 * bytes);
    const before = resident();
    forgetPages(data.subarray(bytes / 2));
    expect(before - resident()).toBeGreaterThan(bytes / 4);
    expect(sum(data)).toBe(7 * bytes);
    const own = Float32Array.of(1, 2, 3);
    forgetPages(own);
    expect(own).toEqual(Float32Array.of(1, 2, 3));
  });

  test('a model holds its file mapped until it is let go', async () => {
    const { folder: source, dispose } = await tinyModel({ dtype: 'BF16' });
    await useNative();
    const load = async () => {
      const model = await loadModel(source);
      expect(maps(source)).toBe(true);
      await model.dispose();
    };
    await load();
    for (let tries = 0; maps(source) && tries < 100; tries++) {
      collect();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(maps(source)).toBe(false);
    await dispose();
  });

  test('a file that is renamed over, and a weight that is written to, leave each other alone', async () => {
    const { folder: source, dispose } = await tinyModel();
    const file = path.join(source, 'model.safetensors');
    const bytes = readFileSync(file);
    await useNative();
    const model = await loadModel(source);
    const weight = model.weight(model.head, 'weight')!.data as Float32Array;
    const values = weight.slice();
    const next = path.join(source, 'next');
    writeFileSync(next, new Uint8Array(bytes.length));
    renameSync(next, file);
    expect(weight).toEqual(values);

    writeFileSync(file, bytes);
    const again = await loadModel(source);
    (again.weight(again.head, 'weight')!.data as Float32Array).fill(1);
    expect(readFileSync(file)).toEqual(bytes);
    await useBackend('wasm');
    expect((await loadModel(source)).info.fingerprint).toBe(model.info.fingerprint);
    await dispose();
  });
});

if (problem) test.skip(problem, () => undefined);
