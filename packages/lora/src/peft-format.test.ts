import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Attachment, LftError, type ModuleSite, SafetensorsFile, useBackend, writeSafetensors } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { initOf, type LlamaShape, llamaSites, modelInfo, TINY } from './__fixtures__/llama-sites.js';
import { type LoraOptions, loadLora, lora, adapter as plugin } from './index.js';

const fixtures = path.join(__dirname, '../../../fixtures');
const TIED: LlamaShape = { blocks: 2, width: 32, feedForward: 64, keys: 32, vocabulary: 96 };
const GROUPED: LlamaShape = { blocks: 3, width: 32, feedForward: 80, keys: 16, vocabulary: 96 };
const sites = llamaSites(TINY);

let folder: string;
beforeAll(() => useBackend('cpu'));
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lora-'));
});
afterEach(() => rm(folder, { recursive: true }));

type Adapter = ReturnType<typeof lora>;

function attachAll(adapter: Adapter, to: readonly ModuleSite[], info = modelInfo(TINY)): Attachment[] {
  adapter.prepare?.(to, info);
  return to.flatMap((site) => {
    const delta = adapter.attach(site, initOf(site));
    return delta ? [{ site, delta }] : [];
  });
}

async function save(options: LoraOptions, keep = (_site: ModuleSite) => true): Promise<Record<string, unknown>> {
  const adapter = lora({ rank: 2, ...options });
  const attachments = attachAll(adapter, sites).filter(({ site }) => keep(site));
  await adapter.format!.write(folder, attachments, modelInfo(TINY));
  return configOf(folder);
}

async function configOf(at: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(path.join(at, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
}

/** Writes the folder's configuration again with other fields. */
async function reconfigure(fields: Record<string, unknown>): Promise<void> {
  const config = { ...(await configOf(folder)), ...fields };
  await writeFile(path.join(folder, 'adapter_config.json'), JSON.stringify(config));
}

async function tensorsOf(at: string): Promise<Map<string, Float32Array>> {
  const file = await SafetensorsFile.open(path.join(at, 'adapter_model.safetensors'));
  const entries = await Promise.all(
    [...file.tensors.keys()].map(async (name) => [name, await file.readFloat32(name)] as const),
  );
  await file.close();
  return new Map(entries);
}

async function refusal(work: () => Promise<unknown>): Promise<LftError> {
  try {
    await work();
  } catch (error) {
    if (LftError.is(error)) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe.each([
  ['llama-mha-tied.lora', TIED, '../llama-mha-tied', 8],
  ['llama-gqa-rope3.lora-all-rslora', GROUPED, '../llama-gqa-rope3', 42],
])('%s, as PEFT wrote it', (name, shape, source, tensors) => {
  test('written again it has the same bytes and the same fields', async () => {
    const adapter = await loadLora(path.join(fixtures, name));
    const attachments = attachAll(adapter, llamaSites(shape), modelInfo(shape, source));
    expect(attachments.flatMap(({ delta }) => delta.parameters)).toHaveLength(tensors);
    await adapter.format!.write(folder, attachments, modelInfo(shape, source));

    const weights = 'adapter_model.safetensors';
    expect(
      (await readFile(path.join(folder, weights))).equals(await readFile(path.join(fixtures, name, weights))),
    ).toBe(true);
    const [ours, theirs] = [await configOf(folder), await configOf(path.join(fixtures, name))];
    // PEFT holds the targets as a set, and writes it in any order.
    expect(ours).toEqual({ ...theirs, target_modules: (theirs.target_modules as string[]).sort() });
    expect(Object.keys(ours)).toEqual(Object.keys(theirs));
  });

  test('attached a second time it has the values of the file again', async () => {
    const adapter = await loadLora(path.join(fixtures, name));
    const of = (attachments: Attachment[]) =>
      attachments.flatMap(({ delta }) => delta.parameters.map((p) => p.variable));
    const first = of(attachAll(adapter, llamaSites(shape)));
    const before = first.map((variable) => variable.dataSync().slice());
    for (const variable of first) variable.assign(tf.mul(variable, 2));
    expect(of(attachAll(adapter, llamaSites(shape))).map((variable) => variable.dataSync())).toEqual(before);
  });
});

describe('what is written can be read', () => {
  const everything: LoraOptions = {
    rank: 3,
    alpha: 5,
    dropout: 0.1,
    rsLora: true,
    init: 'random',
    targets: ['embed_tokens', 'q_proj', 'up_proj'],
    exclude: ['layers.4.self_attn.q_proj'],
    rankPattern: { 'layers\\.1\\.mlp\\.up_proj': 1, up_proj: 2 },
    alphaPattern: { q_proj: 7 },
    modulesToSave: ['lm_head', 'model.norm'],
  };

  test('the same values, and the same options', async () => {
    await save(everything);
    const loaded = await plugin.load!(folder);
    const values = (attachments: Attachment[]) =>
      attachments.flatMap(({ delta }) => delta.parameters.map((p) => [p.name, p.variable.dataSync()]));
    expect(values(attachAll(loaded, sites))).toEqual(values(attachAll(lora(everything), sites)));
    expect(loaded.options).toEqual(lora(everything).options);
  });

  test('the configuration speaks of the options in the words of PEFT', async () => {
    expect(
      await save({ ...everything, blocks: [4, 1], blockPattern: 'layers', targets: ['q_proj', 'up_proj'] }),
    ).toMatchObject({
      r: 3,
      lora_alpha: 5,
      lora_dropout: 0.1,
      use_rslora: true,
      init_lora_weights: false,
      target_modules: ['q_proj', 'up_proj'],
      exclude_modules: ['layers.4.self_attn.q_proj'],
      layers_to_transform: [1, 4],
      layers_pattern: 'layers',
      rank_pattern: { 'layers\\.1\\.mlp\\.up_proj': 1, up_proj: 2 },
      alpha_pattern: { q_proj: 7 },
      modules_to_save: ['lm_head', 'model.norm'],
      base_model_name_or_path: 'models/tiny',
    });
  });

  test('keys have the prefix of PEFT; embeddings have no ".weight"', async () => {
    await save({ targets: ['embed_tokens'], modulesToSave: ['lm_head'] });
    expect([...(await tensorsOf(folder)).keys()]).toEqual([
      'base_model.model.lm_head.weight',
      'base_model.model.model.embed_tokens.lora_embedding_A',
      'base_model.model.model.embed_tokens.lora_embedding_B',
    ]);
  });
});

describe('targets are written so that PEFT adapts the same modules', () => {
  test('all-linear as names', async () => {
    expect((await save({ targets: 'all-linear' })).target_modules).toEqual([
      'down_proj',
      'gate_proj',
      'k_proj',
      'o_proj',
      'q_proj',
      'up_proj',
      'v_proj',
    ]);
  });

  test('an expression that takes a name everywhere, as the name', async () => {
    expect((await save({ targets: '.*(q|k)_proj' })).target_modules).toEqual(['k_proj', 'q_proj']);
  });

  test('an expression that takes a name somewhere, as paths', async () => {
    expect((await save({ targets: '.*\\.[13]\\..*q_proj' })).target_modules).toEqual([
      'model.layers.1.self_attn.q_proj',
      'model.layers.3.self_attn.q_proj',
    ]);
  });

  test('a part of the modules, as paths without blocks', async () => {
    const config = await save({ targets: ['q_proj'], blocks: [1, 2, 3] }, (site) => site.block !== 2);
    expect(config).toMatchObject({
      target_modules: ['model.layers.1.self_attn.q_proj', 'model.layers.3.self_attn.q_proj'],
      layers_to_transform: null,
    });
    const loaded = attachAll(await loadLora(folder), sites);
    expect(loaded.map(({ site }) => site.block)).toEqual([1, 3]);
  });

  test('GPT-2 is marked as storing its weights transposed', async () => {
    const adapter = lora({ rank: 2 });
    await adapter.format!.write(folder, attachAll(adapter, sites), { ...modelInfo(TINY), modelType: 'gpt2' });
    expect((await configOf(folder)).fan_in_fan_out).toBe(true);
  });
});

describe('configurations of other versions and other tools', () => {
  test('missing keys have defaults, unknown keys are ignored', async () => {
    await save({});
    const config = { peft_type: 'LORA', r: 2, target_modules: ['q_proj', 'v_proj'], a_key_of_tomorrow: { x: 1 } };
    await writeFile(path.join(folder, 'adapter_config.json'), JSON.stringify(config));
    expect((await loadLora(folder)).options).toEqual(lora({ rank: 2 }).options);
  });

  test('without targets the tensors of the file tell', async () => {
    await save({ targets: ['embed_tokens', 'layers.1.mlp.up_proj'] });
    await reconfigure({ target_modules: null });
    const loaded = attachAll(await loadLora(folder), sites);
    expect(loaded.map(({ site }) => site.path)).toEqual(['model.embed_tokens', 'model.layers.1.mlp.up_proj']);
  });

  test('a single block may be a number, an empty list is none', async () => {
    await save({ blocks: [1] });
    await reconfigure({ layers_to_transform: 1, exclude_modules: [], modules_to_save: [] });
    const { options } = await loadLora(folder);
    expect(options).toEqual(lora({ rank: 2, blocks: [1] }).options);
  });

  test('a file with a part of the modules that the configuration names stands where it has tensors', async () => {
    await save({}, (site) => site.block === 3);
    await reconfigure({ target_modules: ['q_proj', 'v_proj'] });
    const loaded = attachAll(await loadLora(folder), sites);
    expect(loaded.map(({ site }) => site.path)).toEqual([
      'model.layers.3.self_attn.q_proj',
      'model.layers.3.self_attn.v_proj',
    ]);
  });

  test('the frozen embedding that PEFT stores beside an adapted one is ignored', async () => {
    await save({ targets: ['embed_tokens'] });
    await addTensor('base_model.model.model.embed_tokens.base_layer.weight', [10, 8]);
    expect(attachAll(await loadLora(folder), sites)).toHaveLength(1);
  });

  test.each([true, 'gaussian', 'eva', 'orthogonal'])(
    'init_lora_weights %p leaves the base model as it is, and is read',
    async (init) => {
      await save({});
      await reconfigure({ init_lora_weights: init });
      expect(attachAll(await loadLora(folder), sites)).toHaveLength(10);
    },
  );

  test('halves are read as f32', async () => {
    await save({ targets: ['lm_head'] });
    const name = (which: string) => `base_model.model.lm_head.lora_${which}.weight`;
    // 0x3fc0 is 1.5 in bf16.
    const half = (size: number) => new Uint8Array(new Uint16Array(size).fill(0x3fc0).buffer);
    await writeSafetensors(path.join(folder, 'adapter_model.safetensors'), [
      { name: name('A'), dtype: 'BF16', shape: [2, 8], data: half(16) },
      { name: name('B'), dtype: 'BF16', shape: [10, 2], data: half(20) },
    ]);
    const [loaded] = attachAll(await loadLora(folder), sites);
    expect(new Set(loaded!.delta.parameters.flatMap((p) => [...p.variable.dataSync()]))).toEqual(new Set([1.5]));
  });
});

describe('folders that cannot be used are refused', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['another kind of adapter', { peft_type: 'ADALORA' }, /peft_type is "ADALORA"/],
    ['DoRA', { use_dora: true }, /use_dora is set, and DoRA is not supported\. Merge/],
    ['trained biases', { bias: 'lora_only' }, /bias is "lora_only"/],
    ['a bias in lora_B', { lora_bias: true }, /lora_bias is set/],
    ['PiSSA', { init_lora_weights: 'pissa_niter_4' }, /"pissa_niter_4", which changes the base model's weights/],
    ['trainable tokens', { trainable_token_indices: [1] }, /trainable_token_indices is set/],
    ['a rank of 0', { r: 0 }, /not a LoRA configuration: r: /],
  ])('%s', async (_what, fields, message) => {
    await save({});
    await reconfigure(fields);
    const error = await refusal(() => loadLora(folder));
    expect(error.code).toBe('adapter-format');
    expect(error.message).toMatch(message);
  });

  test('a folder without a configuration', async () => {
    const error = await refusal(() => loadLora(path.join(folder, 'nowhere')));
    expect(error.code).toBe('file-missing');
    expect(error.message).toContain('An adapter of PEFT is a folder with adapter_config.json');
  });

  test('a configuration that is not JSON', async () => {
    await writeFile(path.join(folder, 'adapter_config.json'), '{');
    expect((await refusal(() => loadLora(folder))).message).toContain('is not JSON');
  });

  test('a folder without tensors', async () => {
    await save({});
    await rm(path.join(folder, 'adapter_model.safetensors'));
    expect((await refusal(() => loadLora(folder))).code).toBe('file-missing');
  });

  test('a file without tensors in it', async () => {
    await save({});
    await writeSafetensors(path.join(folder, 'adapter_model.safetensors'), []);
    expect((await refusal(() => loadLora(folder))).message).toContain('holds no tensors');
  });

  test('a pickle, with the way to convert it', async () => {
    await save({});
    await rm(path.join(folder, 'adapter_model.safetensors'));
    await writeFile(path.join(folder, 'adapter_model.bin'), '');
    const error = await refusal(() => loadLora(folder));
    expect(error.code).toBe('adapter-format');
    expect(error.message).toMatch(/runs code when it is read\. Convert it/);
  });

  test('keys of another tool', async () => {
    await save({});
    await addTensor('lora_unet_down', [1]);
    expect((await refusal(() => loadLora(folder))).message).toContain('does not begin with base_model.model.');
  });
});

describe('an adapter that does not fit the model is refused before anything is attached', () => {
  const prepare = async (shape: LlamaShape) => {
    const adapter = await loadLora(folder);
    return refusal(async () => adapter.prepare!(llamaSites(shape), modelInfo(shape, 'models/other')));
  };

  test('other shapes: the tensor, both shapes, both models', async () => {
    await save({});
    const error = await prepare({ ...TINY, width: 16 });
    expect(error.code).toBe('adapter-mismatch');
    expect(error.message).toContain(
      'tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight is [2,8], and this model with the ranks of adapter_config.json takes [2,16]. It was made for "models/tiny" (base_model_name_or_path), this model is "models/other": an adapter of another base model?',
    );
  });

  test('fewer blocks: a tensor that no module takes', async () => {
    await save({});
    const error = await prepare({ ...TINY, blocks: 4 });
    expect(error.code).toBe('adapter-mismatch');
    expect(error.message).toContain(
      'no place for tensor base_model.model.model.layers.4.self_attn.q_proj.lora_A.weight [2,8]',
    );
  });

  test('a rank that is not that of the tensors', async () => {
    await save({});
    await reconfigure({ r: 3 });
    expect((await prepare(TINY)).message).toContain(
      'is [2,8], and this model with the ranks of adapter_config.json takes [3,8]',
    );
  });

  test('a tensor that the configuration does not name', async () => {
    await save({});
    await addTensor('base_model.model.model.layers.0.mlp.up_proj.lora_A.weight', [2, 8]);
    expect((await prepare(TINY)).message).toContain('no place for tensor');
  });

  test('A without B', async () => {
    await save({}, (site) => site.block === 0);
    await reconfigure({ target_modules: ['q_proj', 'v_proj'] });
    await addTensor('base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight', [2, 8]);
    expect((await prepare(TINY)).message).toContain(
      'layers.1.self_attn.q_proj.lora_B.weight is missing beside its partner',
    );
  });
});

/** Writes the folder's tensors again with one more. */
async function addTensor(name: string, shape: number[]): Promise<void> {
  const at = path.join(folder, 'adapter_model.safetensors');
  const file = await SafetensorsFile.open(at);
  const tensors = await Promise.all(
    [...file.tensors].map(async ([key, entry]) => ({
      name: key,
      dtype: 'F32' as const,
      shape: [...entry.shape],
      data: await file.read(key),
    })),
  );
  await file.close();
  const size = shape.reduce((product, length) => product * length, 1);
  await writeSafetensors(at, [...tensors, { name, dtype: 'F32', shape, data: new Uint8Array(4 * size) }]);
}
