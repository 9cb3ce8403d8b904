import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { type Adapter, LftError } from '@lft/core';
import { findPlugin } from './find-plugin.js';

/** What the two kinds of adapter folders say of themselves. */
export interface AdapterFolder {
  readonly folder: string;
  /** `peft` for adapter_config.json, `lft` for adapter.json. */
  readonly kind: 'peft' | 'lft';
  /** `peft_type`, or `format`. */
  readonly format: string;
  /** Folder or name of the model it was trained on, where known. */
  readonly baseModel: string | undefined;
  /** The description as it is in the file. */
  readonly description: Readonly<Record<string, unknown>>;
}

/**
 * Reads what an adapter folder says; of a run folder, its `adapter`.
 * @throws LftError file-missing, adapter-format
 */
export async function readAdapterFolder(folder: string): Promise<AdapterFolder> {
  for (const at of [folder, path.join(folder, 'adapter')]) {
    for (const kind of ['peft', 'lft'] as const) {
      const file = path.join(at, kind === 'peft' ? 'adapter_config.json' : 'adapter.json');
      const text = await readFile(file, 'utf8').catch(() => undefined);
      if (text !== undefined) return describe(at, file, kind, text);
    }
  }
  const there = await stat(folder).catch(() => undefined);
  throw new LftError(
    'file-missing',
    `${folder}: ${there ? 'there is neither adapter_config.json nor adapter.json, so it holds no adapter' : 'there is no such folder'}. Give the folder that an adapter was saved to, e.g. runs/NAME/adapter.`,
    { path: folder },
  );
}

function describe(folder: string, file: string, kind: 'peft' | 'lft', text: string): AdapterFolder {
  let description: Record<string, unknown>;
  try {
    description = JSON.parse(text);
  } catch (cause) {
    throw new LftError('adapter-format', `${file}: is not JSON: ${(cause as Error).message}`, { file }, { cause });
  }
  const key = kind === 'peft' ? 'peft_type' : 'format';
  const format = description?.[key];
  if (typeof format !== 'string') {
    throw new LftError('adapter-format', `${file}: has no "${key}", which says what adapter it is`, { file });
  }
  const source =
    kind === 'peft'
      ? description.base_model_name_or_path
      : (description.model as { source?: unknown } | undefined)?.source;
  return {
    folder,
    kind,
    format,
    description,
    baseModel: typeof source === 'string' && source !== '' ? source : undefined,
  };
}

/**
 * Reads a saved adapter with the plugin that knows its format.
 * @throws LftError adapter-format, plugin-not-found and what the plugin finds wrong
 */
export async function loadAdapter({ folder, format }: AdapterFolder): Promise<Adapter> {
  const { plugin, from } = await findPlugin('adapter', format.toLowerCase());
  if (!plugin.load || (plugin.format ?? plugin.name) !== format) {
    throw new LftError(
      'adapter-format',
      `${folder}: is an adapter of format ${format}, and the adapter ${plugin.name} (${from}) cannot read it back`,
      { folder, format },
    );
  }
  return plugin.load(folder);
}
