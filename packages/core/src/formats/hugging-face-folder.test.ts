import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { HuggingFaceFolder } from './hugging-face-folder.js';
import { writeSafetensors } from './safetensors-write.js';

const INDEX = 'model.safetensors.index.json';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lft-folder-'));
});
afterEach(() => rm(folder, { recursive: true }));

const put = (name: string, value: unknown) =>
  writeFile(path.join(folder, name), typeof value === 'string' ? value : JSON.stringify(value));

const putWeights = (name: string, tensors: Record<string, number[]>) =>
  writeSafetensors(
    path.join(folder, name),
    Object.entries(tensors).map(([tensor, values]) => ({
      name: tensor,
      dtype: 'F32',
      shape: [values.length],
      data: new Uint8Array(Float32Array.from(values).buffer),
    })),
  );

async function refusal(): Promise<{ code: string; message: string; facts: Record<string, unknown> }> {
  return HuggingFaceFolder.open(folder).then(
    () => Promise.reject(new Error('opened')),
    (error) => error,
  );
}

test('one file of weights', async () => {
  await put('config.json', { model_type: 'llama' });
  await putWeights('model.safetensors', { a: [1, 2], b: [3] });
  const model = await HuggingFaceFolder.open(folder);
  expect(model.path).toBe(folder);
  expect(model.config).toEqual({ model_type: 'llama' });
  expect(model.metadata).toEqual({ format: 'pt' });
  expect(model.tensors.get('a')).toEqual({ dtype: 'F32', shape: [2] });
  expect([model.has('b'), model.has('c')]).toEqual([true, false]);
  expect([...(await model.readFloat32('a'))]).toEqual([1, 2]);
  expect([...(await model.readBFloat16('b'))]).toEqual([0x4040]);
  expect([...(await model.readRange('b', 2, 2))]).toEqual([0x40, 0x40]);
  expect((await model.read('a')).length).toBe(8);
  await model.close();
});

test('several files: each tensor comes from the file that the index names', async () => {
  await put('config.json', {});
  await putWeights('model-00001-of-00002.safetensors', { a: [1], shadowed: [8] });
  await putWeights('model-00002-of-00002.safetensors', { b: [2] });
  await put(INDEX, {
    weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' },
  });
  const model = await HuggingFaceFolder.open(folder);
  expect([...model.tensors.keys()]).toEqual(['a', 'b']);
  expect([...(await model.readFloat32('a')), ...(await model.readFloat32('b'))]).toEqual([1, 2]);
  await model.close();
});

test('a folder that is saved over while it is open still gives what it held', async () => {
  await put('config.json', {});
  await putWeights('model.safetensors', { a: [1] });
  const model = await HuggingFaceFolder.open(folder);
  await putWeights('model.safetensors', { a: [2] });
  expect([...(await model.readFloat32('a'))]).toEqual([1]);
  await model.close();
});

test('an unknown tensor is an error that names the nearest', async () => {
  await put('config.json', {});
  await putWeights('model.safetensors', { 'model.norm.weight': [1] });
  const model = await HuggingFaceFolder.open(folder);
  await expect(model.readFloat32('model.norms.weight')).rejects.toMatchObject({
    code: 'tensor-missing',
    message: `${folder}: there is no tensor "model.norms.weight"; did you mean "model.norm.weight"?`,
  });
  await model.close();
});

describe('a folder that is not a model is refused with what it lacks', () => {
  test('no folder', async () => {
    await expect(HuggingFaceFolder.open(path.join(folder, 'none'))).rejects.toMatchObject({
      code: 'file-missing',
      message: expect.stringContaining(
        'there is no such folder. A model folder holds config.json and model.safetensors',
      ),
    });
  });

  test('an id of the hub', async () => {
    await expect(HuggingFaceFolder.open('nobody/no-such-model')).rejects.toMatchObject({
      code: 'file-missing',
      message: expect.stringContaining('hf download nobody/no-such-model --local-dir nobody/no-such-model'),
    });
  });

  test('a file', async () => {
    await put('model.safetensors', '');
    await expect(HuggingFaceFolder.open(path.join(folder, 'model.safetensors'))).rejects.toMatchObject({
      code: 'file-missing',
      message: expect.stringContaining('is not a folder'),
    });
  });

  test('no config.json', async () => {
    await putWeights('model.safetensors', { a: [1] });
    expect(await refusal()).toMatchObject({
      code: 'file-missing',
      message: `${folder}: there is no config.json. A model folder holds config.json and model.safetensors (or ${INDEX} with the files that it names).`,
    });
  });

  test.each([
    ['{"a":', 'is not JSON'],
    ['[]', 'is not a JSON object'],
    ['null', 'is not a JSON object'],
  ])('config.json is %s', async (text, message) => {
    await put('config.json', text);
    const error = await refusal();
    expect(error.code).toBe('config-invalid');
    expect(error.message).toContain(`${path.join(folder, 'config.json')}: ${message}`);
    expect(error.message).toContain('Correct it, or download or copy the file again.');
  });

  test('no weights', async () => {
    await put('config.json', {});
    expect(await refusal()).toMatchObject({
      code: 'file-missing',
      message: expect.stringContaining(`there is neither model.safetensors nor ${INDEX}`),
    });
  });

  test.each([
    [
      'pytorch_model.bin',
      'in pytorch_model.bin only, a format that can run code when it is read',
      'safe_serialization=True',
    ],
    [
      'model-00001-of-00002.safetensors',
      'there are parts of a model (model-00001-of-00002.safetensors)',
      `not ${INDEX}`,
    ],
    ['adapter_model.safetensors', 'holds an adapter', 'Name the folder of the model that it was trained on'],
    ['model-q4.gguf', 'has its weights in model-q4.gguf only', "Download the model's safetensors files"],
  ])('only %s', async (name, problem, remedy) => {
    await put('config.json', {});
    await put(name, '');
    const error = await refusal();
    expect(error.code).toBe('file-missing');
    expect(error.message).toContain(problem);
    expect(error.message).toContain(remedy);
  });

  test('damaged weights', async () => {
    await put('config.json', {});
    await put('model.safetensors', 'short');
    expect(await refusal()).toMatchObject({ code: 'safetensors-invalid', facts: { size: 5 } });
  });

  test('a missing file of several', async () => {
    await put('config.json', {});
    await putWeights('one.safetensors', { a: [1] });
    await put(INDEX, {
      weight_map: { a: 'one.safetensors', b: 'two.safetensors', c: 'two.safetensors', d: 'three.safetensors' },
    });
    expect(await refusal()).toMatchObject({
      code: 'shard-missing',
      message: `${folder}: 2 of the 3 files named in ${INDEX} are missing: two.safetensors (2 tensors), three.safetensors (1 tensor). Download or copy them into the folder.`,
      facts: { missing: ['two.safetensors', 'three.safetensors'] },
    });
  });

  test('a link that leads nowhere', async () => {
    await put('config.json', {});
    await symlink(path.join(folder, 'blob'), path.join(folder, 'one.safetensors'));
    await put(INDEX, { weight_map: { a: 'one.safetensors' } });
    expect(await refusal()).toMatchObject({ code: 'shard-missing', facts: { missing: ['one.safetensors'] } });
  });

  test('a tensor that is not in its file', async () => {
    await put('config.json', {});
    await putWeights('one.safetensors', { a: [1] });
    await put(INDEX, { weight_map: { a: 'one.safetensors', b: 'one.safetensors' } });
    expect(await refusal()).toMatchObject({
      code: 'tensor-missing',
      message: expect.stringContaining(
        'says that these tensors are in it, and they are not: b. Index and file are not of one version',
      ),
      facts: { missing: ['b'] },
    });
  });

  test.each([
    ['not JSON', 'text', 'is not JSON'],
    ['without weight_map', {}, 'has no weight_map'],
    ['with an empty weight_map', { weight_map: {} }, 'has no weight_map'],
    [
      'that leads out of the folder',
      { weight_map: { a: '../b.safetensors' } },
      'tensor "a" lies in "../b.safetensors", not in a .safetensors file of this folder',
    ],
    ['that names a number', { weight_map: { a: 3 } }, 'tensor "a" lies in 3'],
  ])('an index %s', async (_, index, message) => {
    await put('config.json', {});
    await put(INDEX, index);
    expect(await refusal()).toMatchObject({ code: 'config-invalid', message: expect.stringContaining(message) });
  });

  test('a folder named config.json', async () => {
    await mkdir(path.join(folder, 'config.json'));
    expect(await refusal()).toMatchObject({
      code: 'config-invalid',
      message: expect.stringContaining('cannot be read'),
    });
  });
});
