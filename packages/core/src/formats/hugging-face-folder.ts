import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { LftError } from '../errors/lft-error.js';
import type { Dtype } from './dtype.js';
import type { MapFile } from './mapped-file.js';
import { SafetensorsFile, unknownTensor } from './safetensors-file.js';

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';
const MUST_HOLD = `A model folder holds config.json and ${SINGLE_FILE} (or ${INDEX_FILE} with the files that it names)`;

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ');
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}

async function filesOf(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const problem = code === 'ENOENT' ? 'there is no such folder' : code === 'ENOTDIR' ? 'is not a folder' : message;
    // An id of the hub (owner/name) is the usual mistake.
    const isHubId = code === 'ENOENT' && /^[\w.-]+\/[\w.-]+$/.test(folder);
    const hint = isHubId ? `. A model of the hub is downloaded first: hf download ${folder} --local-dir ${folder}` : '';
    throw new LftError(
      'file-missing',
      `${folder}: ${problem}. ${MUST_HOLD}${hint}.`,
      { path: folder },
      { cause: error },
    );
  }
}

/** @param remedy ends the message */
async function readJsonObject(file: string, remedy: string): Promise<Record<string, unknown>> {
  const invalid = (problem: string, cause?: unknown) =>
    new LftError('config-invalid', `${file}: ${problem}. ${remedy}`, { path: file }, { cause });
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw invalid(
      error instanceof SyntaxError ? `is not JSON (${error.message})` : `cannot be read (${(error as Error).message})`,
      error,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('is not a JSON object');
  return value as Record<string, unknown>;
}

function noWeights(folder: string, files: readonly string[]): LftError {
  const pickled = files.filter((file) => /^pytorch_model.*\.bin$/.test(file));
  const safetensors = files.filter((file) => file.endsWith('.safetensors'));
  const gguf = files.filter((file) => file.endsWith('.gguf'));
  const convert = `python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained('${folder}').save_pretrained('${folder}', safe_serialization=True)"`;
  let problem = `there is neither ${SINGLE_FILE} nor ${INDEX_FILE}. ${MUST_HOLD}.`;
  if (pickled.length > 0) {
    problem = `has its weights in ${listed(pickled)} only, a format that can run code when it is read and is not read here. Convert it once with: ${convert}`;
  } else if (safetensors.some((file) => /^model-\d+-of-\d+\.safetensors$/.test(file))) {
    problem = `there are parts of a model (${listed(safetensors)}) but not ${INDEX_FILE}, which says what is in each. Download or copy it too.`;
  } else if (safetensors.includes('adapter_model.safetensors')) {
    problem =
      'holds an adapter (adapter_model.safetensors), not a model. Name the folder of the model that it was trained on.';
  } else if (gguf.length > 0) {
    problem = `has its weights in ${listed(gguf)} only, which is not read here. Download the model's safetensors files.`;
  }
  return new LftError('file-missing', `${folder}: ${problem}`, { path: folder, files });
}

/** @returns names of the tensors by shard */
async function readIndex(folder: string): Promise<Map<string, string[]>> {
  const file = path.join(folder, INDEX_FILE);
  const { weight_map: map } = await readJsonObject(file, 'Download or copy the file again.');
  if (typeof map !== 'object' || map === null || Array.isArray(map) || Object.keys(map).length === 0) {
    throw new LftError(
      'config-invalid',
      `${file}: has no weight_map from tensors to files. Download or copy the file again.`,
      { path: file },
    );
  }
  const shards = new Map<string, string[]>();
  for (const [tensor, shard] of Object.entries(map)) {
    // A plain name only: an index must not make us read elsewhere on the machine.
    if (typeof shard !== 'string' || !/^[^/\\]+\.safetensors$/.test(shard)) {
      throw new LftError(
        'config-invalid',
        `${file}: tensor "${tensor}" lies in ${JSON.stringify(shard)}, not in a .safetensors file of this folder. Download or copy the file again.`,
        { path: file, tensor, shard },
      );
    }
    const names = shards.get(shard);
    if (names) names.push(tensor);
    else shards.set(shard, [tensor]);
  }
  return shards;
}

async function checkShardsExist(folder: string, shards: ReadonlyMap<string, readonly string[]>): Promise<void> {
  const missing: string[] = [];
  for (const shard of shards.keys()) {
    // Not by the folder's listing: in a download cache a link may lead nowhere.
    if (!(await stat(path.join(folder, shard)).catch(() => undefined))) missing.push(shard);
  }
  if (missing.length === 0) return;
  const described = missing.map((shard) => {
    const count = shards.get(shard)!.length;
    return `${shard} (${count} ${count === 1 ? 'tensor' : 'tensors'})`;
  });
  throw new LftError(
    'shard-missing',
    `${folder}: ${missing.length} of the ${shards.size} files named in ${INDEX_FILE} are missing: ${listed(described)}. Download or copy them into the folder.`,
    { path: folder, missing },
  );
}

function checkTensorsExist(file: SafetensorsFile, names: readonly string[]): void {
  const missing = names.filter((name) => !file.tensors.has(name));
  if (missing.length === 0) return;
  throw new LftError(
    'tensor-missing',
    `${file.path}: ${INDEX_FILE} says that these tensors are in it, and they are not: ${listed(missing)}. Index and file are not of one version: download both again.`,
    { path: file.path, missing },
  );
}

/** @returns names of the tensors by weight file */
async function shardsOf(folder: string, listing: readonly string[]): Promise<ReadonlyMap<string, string[] | 'all'>> {
  if (listing.includes(SINGLE_FILE)) return new Map([[SINGLE_FILE, 'all']]);
  if (!listing.includes(INDEX_FILE)) throw noWeights(folder, listing);
  const shards = await readIndex(folder);
  await checkShardsExist(folder, shards);
  return shards;
}

/**
 * A model as Hugging Face stores it: config.json and weights in one safetensors file or several. Opening reads config and headers;
 * weights are read when they are asked for. The files stay open until `close`, so that a folder may be saved over while it is read.
 */
export class HuggingFaceFolder {
  /** By file, in the order of the index. */
  readonly tensors: ReadonlyMap<string, { readonly dtype: Dtype; readonly shape: number[] }>;
  /** `__metadata__` of the weight files. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #files: readonly SafetensorsFile[];
  readonly #fileOf: ReadonlyMap<string, SafetensorsFile>;

  private constructor(
    readonly path: string,
    /** config.json as it is: an object, its fields unchecked. */
    readonly config: unknown,
    files: readonly SafetensorsFile[],
    fileOf: ReadonlyMap<string, SafetensorsFile>,
  ) {
    this.#files = files;
    this.#fileOf = fileOf;
    this.metadata = Object.assign({}, ...files.map((file) => file.metadata));
    this.tensors = new Map(
      Array.from(fileOf, ([name, file]) => {
        const { dtype, shape } = file.tensors.get(name)!;
        return [name, { dtype, shape }];
      }),
    );
  }

  /**
   * Reads config.json and the headers of all weight files, and checks that every tensor is there.
   * @param map see {@link SafetensorsFile.open}
   * @throws LftError file-missing, config-invalid, shard-missing, tensor-missing or safetensors-invalid
   */
  static async open(folder: string, map?: MapFile): Promise<HuggingFaceFolder> {
    const listing = await filesOf(folder);
    if (!listing.includes('config.json')) {
      throw new LftError('file-missing', `${folder}: there is no config.json. ${MUST_HOLD}.`, { path: folder });
    }
    const config = await readJsonObject(
      path.join(folder, 'config.json'),
      'Correct it, or download or copy the file again.',
    );
    const shards = await shardsOf(folder, listing);

    const files: SafetensorsFile[] = [];
    const fileOf = new Map<string, SafetensorsFile>();
    try {
      for (const [shard, names] of shards) {
        const file = await SafetensorsFile.open(path.join(folder, shard), map);
        files.push(file);
        if (names !== 'all') checkTensorsExist(file, names);
        for (const name of names === 'all' ? file.tensors.keys() : names) fileOf.set(name, file);
      }
      return new HuggingFaceFolder(folder, config, files, fileOf);
    } catch (error) {
      await Promise.all(files.map((file) => file.close()));
      throw error;
    }
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** See {@link SafetensorsFile.read}. */
  async read(name: string): Promise<Uint8Array<ArrayBuffer>> {
    return this.#file(name).read(name);
  }

  /** See {@link SafetensorsFile.readRange}. */
  async readRange(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#file(name).readRange(name, byteOffset, byteLength);
  }

  /** See {@link SafetensorsFile.readFloat32}. */
  async readFloat32(name: string): Promise<Float32Array<ArrayBuffer>> {
    return this.#file(name).readFloat32(name);
  }

  /** See {@link SafetensorsFile.readBFloat16}. */
  async readBFloat16(name: string): Promise<Uint16Array<ArrayBuffer>> {
    return this.#file(name).readBFloat16(name);
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  #file(name: string): SafetensorsFile {
    const file = this.#fileOf.get(name);
    if (file) return file;
    throw unknownTensor(this.path, name, this.tensors.keys());
  }
}
