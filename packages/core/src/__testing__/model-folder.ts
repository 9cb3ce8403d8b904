import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { bfloat16FromFloat32 } from '../formats/half-precision.js';
import { SafetensorsFile } from '../formats/safetensors-file.js';
import { type SafetensorsInput, writeSafetensors } from '../formats/safetensors-write.js';

export const FIXTURES = path.join(__dirname, '../../../../fixtures');
/** Two blocks, head tied to the embedding. */
export const TIED = path.join(FIXTURES, 'llama-mha-tied');
/** Three blocks, grouped key-value heads, a head of its own. */
export const UNTIED = path.join(FIXTURES, 'llama-gqa-rope3');
/** Two blocks with biases. */
export const BIASED = path.join(FIXTURES, 'llama-bias-headdim');

const made: string[] = [];

/** An empty folder that `removeFolders` removes. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'lft-core-'));
  made.push(folder);
  return folder;
}

export function removeFolders(): void {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
}

export interface Stored {
  dtype: 'F32' | 'BF16';
  shape: number[];
  values: Float32Array;
}

export type Edit = {
  config?: (config: Record<string, unknown>) => void;
  /** Changes the tensors by name: sets, deletes, or edits values. */
  tensors?: (tensors: Map<string, Stored>) => void;
  files?: Readonly<Record<string, string>>;
};

/** A copy of a fixture's folder with changes. */
export async function editedModel(source: string, edit: Edit = {}): Promise<string> {
  const folder = temporaryFolder();
  cpSync(source, folder, { recursive: true });
  const configFile = path.join(folder, 'config.json');
  const config = JSON.parse(readFileSync(configFile, 'utf8')) as Record<string, unknown>;
  edit.config?.(config);
  writeFileSync(configFile, JSON.stringify(config));
  for (const [name, text] of Object.entries(edit.files ?? {})) writeFileSync(path.join(folder, name), text);
  if (edit.tensors) {
    const file = path.join(folder, 'model.safetensors');
    const tensors = await readAll(file);
    edit.tensors(tensors);
    await writeSafetensors(file, inputs(tensors));
  }
  return folder;
}

export async function readAll(file: string): Promise<Map<string, Stored>> {
  const stored = await SafetensorsFile.open(file);
  const tensors = new Map<string, Stored>();
  for (const [name, { dtype, shape }] of stored.tensors) {
    tensors.set(name, { dtype: dtype as Stored['dtype'], shape: [...shape], values: await stored.readFloat32(name) });
  }
  await stored.close();
  return tensors;
}

function inputs(tensors: ReadonlyMap<string, Stored>): SafetensorsInput[] {
  return [...tensors].map(([name, { dtype, shape, values }]) => {
    const packed = dtype === 'BF16' ? bfloat16FromFloat32(values) : values;
    return { name, dtype, shape, data: new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength) };
  });
}

/** Makes every matrix bf16. */
export function asBFloat16(tensors: Map<string, Stored>): void {
  for (const stored of tensors.values()) stored.dtype = 'BF16';
}
