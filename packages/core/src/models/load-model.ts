import { createHash } from 'node:crypto';
import { z } from 'zod';
import { capabilities } from '../backend/capabilities.js';
import { ensureBackend } from '../backend/use-backend.js';
import type { ModuleSite } from '../contracts/module-site.js';
import { LftError } from '../errors/lft-error.js';
import { parseOptions } from '../errors/parse-options.js';
import { HuggingFaceFolder } from '../formats/hugging-face-folder.js';
import { FrozenWeight, WEIGHT_FORMATS, type WeightFormat } from '../weights/frozen-weight.js';
import type { CausalModel } from './causal-model.js';
import { FAMILIES, type Family } from './families.js';

const loadModelOptions = z.object({
  weights: z
    .enum(['auto', ...WEIGHT_FORMATS])
    .default('auto')
    .describe(
      'how frozen matrices are held: auto keeps bf16 files as bf16 and everything else as f32; int8 and nf4 quantise the linear modules of the blocks',
    ),
});

export type LoadModelOptions = z.input<typeof loadModelOptions>;

const identitySchema = z.looseObject({
  model_type: z.string(),
  architectures: z.array(z.string()).nullish(),
});

/**
 * Loads a model from a Hugging Face folder (config.json and safetensors, one file or shards). Weights are read tensor by tensor,
 * or, on a backend that can (native), stay where they lie in the files, which must not be changed in place while the model is used.
 * @param source the folder
 * @throws LftError options-invalid, file-missing, config-invalid, architecture-unknown, safetensors-invalid, shard-missing, tensor-missing, tensor-shape
 */
export async function loadModel(source: string, options: LoadModelOptions = {}): Promise<CausalModel> {
  const { weights: format } = parseOptions('loadModel', loadModelOptions, options);
  await ensureBackend();
  const folder = await HuggingFaceFolder.open(source, capabilities().mapFile);
  try {
    const family = familyOf(folder);
    const { sites, info, build } = family.describe(folder.config, `${source}/config.json`);
    const weights = new Map<string, FrozenWeight>();
    const sample = createHash('sha256');
    for (const { name, shape, site } of expectedTensors(sites)) {
      const weight = await readWeight(folder, name, shape, heldAs(site, format));
      weights.set(name, weight);
      sample.update(`${name} [${shape.join()}]`).update(await fingerprintSample(folder, name));
    }
    return build({ ...info, source, fingerprint: sample.digest('hex').slice(0, 32) }, weights);
  } finally {
    await folder.close();
  }
}

function familyOf(folder: HuggingFaceFolder): Family {
  const file = `${folder.path}/config.json`;
  const identity = identitySchema.safeParse(folder.config);
  if (!identity.success) {
    throw new LftError('config-invalid', `${file} has no "model_type": it is not the config of a transformers model`, { file });
  }
  const family = FAMILIES[identity.data.model_type];
  if (!family) {
    throw new LftError(
      'architecture-unknown',
      `${file}: model type "${identity.data.model_type}" is not known; there is ${Object.keys(FAMILIES).join(', ')}`,
      { file, modelType: identity.data.model_type },
    );
  }
  return family;
}

function expectedTensors(sites: readonly ModuleSite[]): { name: string; shape: number[]; site: ModuleSite }[] {
  return sites.flatMap((site) => {
    if (site.kind === 'sublayer' || site.tiedTo) return [];
    const weight = {
      linear: [site.out, site.in],
      embedding: [site.in, site.out],
      norm: [site.out],
    }[site.kind];
    const tensors = [{ name: `${site.path}.weight`, shape: weight, site }];
    return site.bias ? [...tensors, { name: `${site.path}.bias`, shape: [site.out], site }] : tensors;
  });
}

/** As bitsandbytes does it for LLM.int8 and QLoRA: embedding and head, which lose more by it, are not quantised. */
function heldAs({ block }: ModuleSite, format: 'auto' | WeightFormat): 'auto' | WeightFormat {
  return block === undefined && (format === 'int8' || format === 'nf4') ? 'auto' : format;
}

async function readWeight(
  folder: HuggingFaceFolder,
  name: string,
  shape: number[],
  format: 'auto' | WeightFormat,
): Promise<FrozenWeight> {
  const stored = folder.tensors.get(name);
  if (stored && stored.shape.join() !== shape.join()) {
    throw new LftError(
      'tensor-shape',
      `${folder.path}: ${name} is [${stored.shape.join(', ')}] in the file, and [${shape.join(', ')}] by config.json. The weights and the config are of different models.`,
      { name, stored: stored.shape, expected: shape },
    );
  }
  // Vectors (norms, biases) are tiny and used in f32 everywhere.
  const own = stored?.dtype === 'BF16' ? 'bf16' : 'f32';
  const held = shape.length === 1 ? 'f32' : format === 'auto' ? own : format;
  if (held === 'bf16') return new FrozenWeight(name, shape, await folder.readBFloat16(name));
  const weight = FrozenWeight.pack(name, shape, await folder.readFloat32(name), held);
  if (held !== own) await forget(folder, name);
  return weight;
}

/** Of a weight that is held otherwise than in its file: what was read of the file, where that is mapped. */
async function forget(folder: HuggingFaceFolder, name: string): Promise<void> {
  const { forgetPages } = capabilities();
  const dtype = folder.tensors.get(name)?.dtype;
  // Others are converted when they are read, and are not the file's own memory.
  if (dtype === 'BF16') forgetPages?.(await folder.readBFloat16(name));
  if (dtype === 'F32') forgetPages?.(await folder.readFloat32(name));
}

/** The first bytes of a tensor, as they lie in the file: the same for every way of holding the weight. */
async function fingerprintSample(folder: HuggingFaceFolder, name: string): Promise<Uint8Array> {
  const { shape, dtype } = folder.tensors.get(name)!;
  const values = shape.reduce((product, size) => product * size, 1);
  return folder.readRange(name, 0, Math.min(256, values * (dtype === 'F32' ? 4 : 2)));
}
