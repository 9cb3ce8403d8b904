import { readFile } from 'node:fs/promises';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Adapter } from '../contracts/adapter.js';
import { LftError } from '../errors/lft-error.js';
import { SafetensorsFile } from '../formats/safetensors-file.js';

const descriptionSchema = z.object({
  format: z.string(),
  version: z.literal(1),
  options: z.unknown(),
  model: z.object({ source: z.string(), fingerprint: z.string() }),
});

async function readDescription(folder: string) {
  const file = path.join(folder, 'adapter.json');
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new LftError(
      'file-missing',
      `${file} cannot be read: name a folder that an adapter was saved to`,
      { file },
      { cause },
    );
  });
  try {
    return descriptionSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new LftError(
      'adapter-format',
      `${file} does not describe a saved adapter: ${String(cause)}`,
      { file },
      { cause },
    );
  }
}

/**
 * Reads an adapter that was saved without a format of its own (`adapter.json` and `adapter.safetensors`): the adapter that `create` makes
 * of the saved options, attached with the saved values.
 * @throws LftError file-missing, adapter-format, safetensors-invalid; when it is attached, adapter-mismatch
 */
export async function withSavedParameters<Options extends z.ZodType>(
  create: (options: z.input<Options>) => Adapter,
  schema: Options,
  folder: string,
): Promise<Adapter> {
  const { options, model } = await readDescription(folder);
  const adapter = create(schema.parse(options) as z.input<Options>);
  const file = await SafetensorsFile.open(path.join(folder, 'adapter.safetensors'));
  const values = new Map<string, { shape: number[]; data: Float32Array }>();
  try {
    for (const [name, { shape }] of file.tensors) values.set(name, { shape, data: await file.readFloat32(name) });
  } finally {
    await file.close();
  }
  return {
    ...adapter,
    prepare(sites, info) {
      adapter.prepare?.(sites, info);
      if (info.fingerprint === model.fingerprint) return;
      throw new LftError(
        'adapter-mismatch',
        `the adapter in ${folder} was trained on another model (${model.source}, fingerprint ${model.fingerprint}); ${info.source} has fingerprint ${info.fingerprint}. Load it with the model that it was trained on.`,
        { folder, model, info },
      );
    },
    attach(site, init) {
      const delta = adapter.attach(site, init);
      for (const parameter of delta?.parameters ?? []) {
        const saved = values.get(parameter.name);
        if (saved?.shape.join() !== parameter.shape.join()) {
          throw new LftError(
            'adapter-mismatch',
            `${folder} ${saved ? `holds ${parameter.name} with the shape [${saved.shape.join(', ')}]` : `does not hold ${parameter.name}`}; the model needs [${parameter.shape.join(', ')}]. The adapter is of another model.`,
            { folder, parameter: parameter.name },
          );
        }
        tf.tidy(() => parameter.assign(tf.tensor(saved!.data, saved!.shape)));
      }
      return delta;
    },
  };
}
