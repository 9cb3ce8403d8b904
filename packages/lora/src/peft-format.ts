import { access, readFile } from 'node:fs/promises';
import path from 'node:path';
import {
  type Attachment,
  LftError,
  type ModelInfo,
  type Parameter,
  SafetensorsFile,
  writeFileAtomic,
  writeSafetensors,
} from '@lft/core';
import type { ResolvedLoraOptions } from './options.js';
import { type PeftTargets, parsePeftConfig, peftConfigText } from './peft-config.js';
import { leaf, type SiteShape, treatment } from './targets.js';

/** PEFT's model wraps ours twice: every key begins with the way to it. */
const PREFIX = 'base_model.model.';
const CONFIG = 'adapter_config.json';
const TENSORS = 'adapter_model.safetensors';

/** A tensor of a file. */
export interface SavedTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** An adapter folder that was read. */
export interface SavedAdapter {
  readonly folder: string;
  readonly options: ResolvedLoraOptions;
  /** What it was made for, as its configuration says. */
  readonly baseModel: string | undefined;
  /** By parameter name: the file's keys without PEFT's prefix. */
  readonly tensors: ReadonlyMap<string, SavedTensor>;
}

/** Writes adapter_config.json and adapter_model.safetensors as PEFT does. */
export async function writePeftFolder(
  folder: string,
  attachments: readonly Attachment[],
  model: ModelInfo,
  options: ResolvedLoraOptions,
  sites: readonly SiteShape[],
): Promise<void> {
  const parameters = attachments.flatMap(({ delta }) => delta.parameters);
  await writeSafetensors(
    path.join(folder, TENSORS),
    parameters.map((parameter) => ({
      name: PREFIX + parameter.name,
      dtype: 'F32',
      shape: [...parameter.shape],
      data: () => bytesOf(parameter),
    })),
    { format: 'pt' },
  );
  const adapted = attachments.map(({ site }) => site).filter((site) => treatment(options, site) !== 'saved');
  await writeFileAtomic(
    path.join(folder, CONFIG),
    peftConfigText(options, peftTargets(options, adapted, sites), model),
  );
}

async function bytesOf(parameter: Parameter): Promise<Uint8Array> {
  const value = parameter.value();
  const values = await value.data();
  value.dispose();
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/**
 * The words that make PEFT adapt exactly these modules: the options' own list, else plain names (`all-linear` and regular expressions
 * could mean more modules there than here), else full paths.
 */
export function peftTargets(
  options: ResolvedLoraOptions,
  adapted: readonly SiteShape[],
  sites: readonly SiteShape[],
): PeftTargets {
  const wanted = new Set(adapted.map((site) => site.path));
  const names = [...new Set(adapted.map((site) => leaf(site.path)))];
  for (const targets of Array.isArray(options.targets) ? [options.targets] : [names]) {
    const chosen = sites.filter((site) => treatment({ ...options, targets }, site) === 'lora');
    if (chosen.length === wanted.size && chosen.every((site) => wanted.has(site.path))) {
      return { targets, blocks: options.blocks };
    }
  }
  return { targets: [...wanted], blocks: undefined };
}

/**
 * Reads an adapter folder of PEFT.
 * @throws LftError file-missing, adapter-format
 */
export async function readPeftFolder(folder: string): Promise<SavedAdapter> {
  const { options, baseModel } = parsePeftConfig(path.join(folder, CONFIG), await readConfig(folder));
  const file = path.join(folder, TENSORS);
  if (!(await exists(file))) {
    if (await exists(path.join(folder, 'adapter_model.bin'))) {
      throw new LftError(
        'adapter-format',
        `${folder}: has adapter_model.bin and no ${TENSORS}. A .bin file is a Python pickle, which runs code when it is read. Convert it where you trust it: PeftModel.from_pretrained(base, folder).save_pretrained(other).`,
        { folder },
      );
    }
    throw new LftError('file-missing', `${file}: there is no such file, so the folder holds no adapter of PEFT.`, {
      path: file,
    });
  }
  const tensors = await readTensors(file);
  // A path in front of `.lora_A.weight` or `.lora_embedding_A` is a module that was adapted.
  const paths = [...tensors.keys()].flatMap((name) => /^(.*)\.lora_(?:embedding_A|A\.weight)$/.exec(name)?.[1] ?? []);
  return { folder, baseModel, tensors, options: { ...options, targets: options.targets ?? paths.sort() } };
}

async function readConfig(folder: string): Promise<unknown> {
  const file = path.join(folder, CONFIG);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new LftError(
      'file-missing',
      `${file}: cannot be read. An adapter of PEFT is a folder with ${CONFIG} and ${TENSORS}.`,
      { path: file },
      { cause },
    );
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new LftError('adapter-format', `${file}: is not JSON: ${(cause as Error).message}`, { file }, { cause });
  }
}

async function readTensors(file: string): Promise<Map<string, SavedTensor>> {
  const source = await SafetensorsFile.open(file);
  try {
    if (source.tensors.size === 0) throw new LftError('adapter-format', `${file}: holds no tensors.`, { file });
    const tensors = new Map<string, SavedTensor>();
    for (const [key, { shape }] of source.tensors) {
      if (!key.startsWith(PREFIX)) {
        throw new LftError('adapter-format', `${file}: tensor ${key} does not begin with ${PREFIX}, as PEFT's do.`, {
          file,
          tensor: key,
        });
      }
      tensors.set(key.slice(PREFIX.length), { shape, values: await source.readFloat32(key) });
    }
    return tensors;
  } finally {
    await source.close();
  }
}

function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

/**
 * Checks that every tensor of the file has its place in the model.
 * @param expected shape by parameter name: what the adapter would attach
 * @throws LftError adapter-mismatch
 */
export function checkSavedTensors(
  saved: SavedAdapter,
  expected: ReadonlyMap<string, readonly number[]>,
  sites: readonly SiteShape[],
  model: ModelInfo,
): void {
  const made = saved.baseModel === undefined ? '' : ` It was made for "${saved.baseModel}" (base_model_name_or_path)`;
  const hint = `${made}${made ? ',' : ''} this model is "${model.source}": an adapter of another base model?`;
  for (const [name, { shape }] of saved.tensors) {
    const wanted = expected.get(name) ?? frozenShape(name, sites);
    if (!wanted) {
      throw new LftError(
        'adapter-mismatch',
        `${saved.folder}: the model has no place for tensor ${PREFIX}${name} [${shape}].${hint}`,
        { folder: saved.folder, tensor: name, shape, baseModel: saved.baseModel, model: model.source },
      );
    }
    if (wanted.join() === shape.join()) continue;
    throw new LftError(
      'adapter-mismatch',
      `${saved.folder}: tensor ${PREFIX}${name} is [${shape}], and this model with the ranks of ${CONFIG} takes [${wanted}].${hint}`,
      { folder: saved.folder, tensor: name, shape, expected: wanted, baseModel: saved.baseModel, model: model.source },
    );
  }
  for (const name of expected.keys()) {
    if (saved.tensors.has(name)) continue;
    throw new LftError('adapter-mismatch', `${saved.folder}: tensor ${PREFIX}${name} is missing beside its partner.`, {
      folder: saved.folder,
      tensor: name,
    });
  }
}

/** PEFT copies the frozen embedding and head into the file when one of them is adapted: known, and not needed. */
function frozenShape(name: string, sites: readonly SiteShape[]): readonly number[] | undefined {
  const site = sites.find(
    ({ path: at, role }) =>
      (role === 'embed' || role === 'head') && (name === `${at}.weight` || name === `${at}.base_layer.weight`),
  );
  if (!site) return undefined;
  return site.kind === 'embedding' ? [site.in, site.out] : [site.out, site.in];
}
