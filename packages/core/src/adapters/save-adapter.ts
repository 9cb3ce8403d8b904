import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { writeFileAtomic } from '../formats/atomic-write.js';
import { outputError } from '../formats/output-error.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import { writeTensors } from '../trainer/tensor-file.js';

/**
 * Writes an adapter into a folder: in the adapter's own format, or, where it has none, as `adapter.json` and `adapter.safetensors` with
 * the parameters under their names.
 * @throws LftError output-not-writable
 */
export async function saveAdapter(model: AdaptedModel, folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw outputError(folder, error);
  }
  const { adapter, base } = model;
  if (adapter.format) return adapter.format.write(folder, model.attachments, base.info);
  await writeTensors(
    path.join(folder, 'adapter.safetensors'),
    new Map(
      model.parameters.map((parameter) => [parameter.name, { shape: parameter.shape, make: () => parameter.value() }]),
    ),
  );
  const { source, fingerprint } = base.info;
  const description = { format: adapter.name, version: 1, options: adapter.options, model: { source, fingerprint } };
  await writeFileAtomic(path.join(folder, 'adapter.json'), `${JSON.stringify(description, null, 2)}\n`);
}
