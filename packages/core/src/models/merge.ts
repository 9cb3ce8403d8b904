import { copyFile, mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { Attachment } from '../contracts/adapter.js';
import { LftError } from '../errors/lft-error.js';
import { writeFileAtomic } from '../formats/atomic-write.js';
import { bfloat16FromFloat32 } from '../formats/half-precision.js';
import { outputError } from '../formats/output-error.js';
import { HuggingFaceFolder } from '../formats/hugging-face-folder.js';
import { writeSafetensors } from '../formats/safetensors-write.js';
import type { AdaptedModel } from './adapted-model.js';

/** What a model folder holds besides weights: copied as it is. */
const COMPANION = /^(tokenizer.*|special_tokens_map\.json|vocab\..*|merges\.txt|added_tokens\.json|chat_template.*|generation_config\.json|LICENSE.*|README\.md)$/i;

/**
 * Writes the model with the adapter built into its weights: a Hugging Face folder that needs no adapter. Tensors keep the dtype that they
 * have in the base model (f32 or bf16; others become f32), and are merged in f32 and rounded once, one at a time. The base's values are
 * those of its files, whatever the model holds them as: what an adapter learned beside quantised weights is added to the exact ones.
 * @throws LftError adapter-not-mergeable, output-not-writable
 */
export async function mergeIntoFolder(model: AdaptedModel, target: string): Promise<void> {
  const { attachments } = model;
  for (const { site, delta } of attachments) {
    if (!delta.merged) {
      throw new LftError(
        'adapter-not-mergeable',
        `adapter ${model.adapter.name} cannot be merged: what it adds at ${site.path} is not a change of a weight. Keep it as an adapter.`,
        { adapter: model.adapter.name, site: site.path },
      );
    }
  }
  try {
    await mkdir(target, { recursive: true });
  } catch (error) {
    throw outputError(target, error);
  }
  const folder = await HuggingFaceFolder.open(model.base.info.source);
  try {
    await writeMerged(model, folder, target);
  } finally {
    await folder.close();
  }
}

async function writeMerged(model: AdaptedModel, folder: HuggingFaceFolder, target: string): Promise<void> {
  const { base, attachments } = model;
  const sites = new Map(attachments.map((attachment) => [attachment.site.path, attachment]));
  const head = base.sites.find((site) => site.path === base.head)!;
  const untied = head.tiedTo !== undefined && changesHead(sites.get(head.path), sites.get(head.tiedTo));

  const names = [...folder.tensors.keys()];
  if (untied && !names.includes(`${head.path}.weight`)) names.push(`${head.path}.weight`);
  const entries = names.map((name) => {
    const [path, tensor] = splitName(name);
    const attachment = tensor ? sites.get(path) : undefined;
    const source = folder.has(name) ? name : `${head.tiedTo}.weight`;
    const { dtype, shape } = folder.tensors.get(source)!;
    if (!attachment || !tensor) return { name, dtype, shape, data: () => folder.read(source) };
    const kept = dtype === 'BF16' ? ('BF16' as const) : ('F32' as const);
    return { name, dtype: kept, shape, data: () => mergedBytes(folder, source, attachment, tensor) };
  });
  await writeSafetensors(path.join(target, 'model.safetensors'), entries);

  const config = folder.config as Record<string, unknown>;
  await writeFileAtomic(
    path.join(target, 'config.json'),
    `${JSON.stringify(untied ? { ...config, tie_word_embeddings: false } : config, null, 2)}\n`,
  );
  for (const file of await readdir(folder.path)) {
    if (!COMPANION.test(file)) continue;
    const copy = path.join(target, file);
    await copyFile(path.join(folder.path, file), copy).catch((error) => {
      throw outputError(copy, error);
    });
  }
}

/** Whether a tied head ends up with a weight of its own: it, or the embedding alone, was changed. */
function changesHead(head: Attachment | undefined, embedding: Attachment | undefined): boolean {
  return (head || embedding) !== undefined && head?.delta !== embedding?.delta;
}

/** `model.norm.weight` to its module path and which of the module's tensors it is. */
function splitName(name: string): [path: string, tensor: 'weight' | 'bias' | undefined] {
  const at = name.lastIndexOf('.');
  const last = name.slice(at + 1);
  return [name.slice(0, at), last === 'weight' || last === 'bias' ? last : undefined];
}

async function mergedBytes(folder: HuggingFaceFolder, source: string, { delta }: Attachment, tensor: 'weight' | 'bias') {
  const { dtype, shape } = folder.tensors.get(source)!;
  const base = await folder.readFloat32(source);
  const merged = tf.tidy(() => delta.merged!(tensor, tf.tensor(base, shape)));
  const values = (await merged.data()) as Float32Array;
  merged.dispose();
  const packed = dtype === 'BF16' ? bfloat16FromFloat32(values) : values;
  return new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength);
}
