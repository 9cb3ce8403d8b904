import { LftError } from '@lft/core';
import { z } from 'zod';
import type { ResolvedLoraOptions } from './options.js';

const nameList = z.array(z.string());

/**
 * adapter_config.json as far as it matters here. Keys that are missing have PEFT's defaults, keys that are not named are ignored: every
 * version of PEFT adds some.
 */
const peftConfig = z.looseObject({
  peft_type: z.literal('LORA'),
  base_model_name_or_path: z.string().nullish(),
  r: z.int().min(1).default(8),
  lora_alpha: z.number().positive().default(8),
  lora_dropout: z.number().min(0).lt(1).default(0),
  use_rslora: z.boolean().default(false),
  init_lora_weights: z.union([z.boolean(), z.string()]).default(true),
  target_modules: z.union([z.string(), nameList]).nullish(),
  exclude_modules: z.union([z.string(), nameList]).nullish(),
  layers_to_transform: z.union([z.int(), z.array(z.int())]).nullish(),
  layers_pattern: z.union([z.string(), nameList]).nullish(),
  rank_pattern: z.record(z.string(), z.int().min(1)).nullish(),
  alpha_pattern: z.record(z.string(), z.number().positive()).nullish(),
  modules_to_save: nameList.nullish(),
  bias: z.string().default('none'),
});

/** Features that change what an adapter computes, and are not built here: the keys that switch them on. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  use_dora: 'DoRA',
  lora_bias: 'a bias in lora_B',
  use_qalora: 'QALoRA',
  use_bdlora: 'block-diagonal LoRA',
  alora_invocation_tokens: 'activated LoRA',
  arrow_config: 'arrow routing',
  kasa_config: 'KaSA',
  monteclora_config: 'MonteCLoRA',
  layer_replication: 'replicated layers',
  target_parameters: 'parameters as targets',
  trainable_token_indices: 'trainable tokens',
};

/** Initialisations that leave the base model's weights as they are: with any other, A and B belong to a changed base model. */
const INIT_BESIDE_BASE = ['gaussian', 'eva', 'orthogonal', 'mica'];

/** What adapter_config.json says. */
export interface PeftLora {
  readonly options: Omit<ResolvedLoraOptions, 'targets'> & {
    readonly targets: ResolvedLoraOptions['targets'] | undefined;
  };
  /** `base_model_name_or_path`, where given. */
  readonly baseModel: string | undefined;
}

/**
 * @param file path of the file, for messages
 * @throws LftError adapter-format when the adapter is of another kind, or uses what is not built here
 */
export function parsePeftConfig(file: string, json: unknown): PeftLora {
  const type = (json as { peft_type?: unknown } | null)?.peft_type;
  if (type !== 'LORA') {
    throw new LftError(
      'adapter-format',
      `${file}: peft_type is ${JSON.stringify(type) ?? 'missing'}, and only "LORA" is read here: use the package of that adapter.`,
      { file, type },
    );
  }
  const result = peftConfig.safeParse(json);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
    throw new LftError('adapter-format', `${file}: not a LoRA configuration: ${problems}`, { file, problems });
  }
  const config = result.data;
  for (const [key, feature] of Object.entries(UNSUPPORTED)) {
    if (!isOn(config[key])) continue;
    throw new LftError(
      'adapter-format',
      `${file}: ${key} is set, and ${feature} is not supported. Merge the adapter into its base model with PEFT (merge_and_unload) and use the merged model.`,
      { file, key, value: config[key] },
    );
  }
  if (config.bias !== 'none') {
    throw new LftError(
      'adapter-format',
      `${file}: bias is "${config.bias}", and only "none" is supported: the trained biases would be lost. Merge the adapter with PEFT and use the merged model.`,
      { file, bias: config.bias },
    );
  }
  const init = config.init_lora_weights;
  if (typeof init === 'string' && !INIT_BESIDE_BASE.includes(init.toLowerCase())) {
    throw new LftError(
      'adapter-format',
      `${file}: init_lora_weights is "${init}", which changes the base model's weights, so the adapter does not fit the base model. Save it again with save_pretrained(..., path_initial_model_for_weight_conversion=...), which makes a plain LoRA of it.`,
      { file, init },
    );
  }
  const blocks = config.layers_to_transform;
  return {
    baseModel: config.base_model_name_or_path ?? undefined,
    options: {
      rank: config.r,
      alpha: config.lora_alpha,
      dropout: config.lora_dropout,
      rsLora: config.use_rslora,
      init: init === false ? 'random' : init === 'gaussian' ? 'gaussian' : 'kaiming',
      targets: given(config.target_modules),
      exclude: given(config.exclude_modules),
      blocks: given(typeof blocks === 'number' ? [blocks] : blocks),
      blockPattern: given(config.layers_pattern),
      rankPattern: config.rank_pattern ?? {},
      alphaPattern: config.alpha_pattern ?? {},
      modulesToSave: given(config.modules_to_save),
      bias: 'none',
    },
  };
}

/** An empty list or text is PEFT's other way to say null. */
function given<T extends string | readonly unknown[]>(value: T | null | undefined): T | undefined {
  return value === null || value === undefined || value.length === 0 ? undefined : value;
}

function isOn(value: unknown): boolean {
  return value !== null && value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
}

/** Which modules the written adapter holds, in the words of the configuration. */
export interface PeftTargets {
  readonly targets: readonly string[];
  /** Undefined when the targets are full paths, which blocks do not narrow. */
  readonly blocks: readonly number[] | undefined;
}

/** The text of adapter_config.json: the fields of peft 0.21, keys sorted, indented by two, lists sorted where order means nothing. */
export function peftConfigText(
  options: ResolvedLoraOptions,
  { targets, blocks }: PeftTargets,
  baseModel: { readonly source: string; readonly modelType: string },
): string {
  const { exclude, modulesToSave } = options;
  const fields = {
    alora_invocation_tokens: null,
    // Not sorted within: the first pattern that matches wins.
    alpha_pattern: options.alphaPattern,
    arrow_config: null,
    auto_mapping: null,
    base_model_name_or_path: baseModel.source,
    bias: options.bias,
    corda_config: null,
    ensure_weight_tying: false,
    eva_config: null,
    exclude_modules: exclude === undefined || typeof exclude === 'string' ? (exclude ?? null) : exclude.toSorted(),
    // GPT-2 stores its weights as [in, out].
    fan_in_fan_out: baseModel.modelType === 'gpt2',
    inference_mode: true,
    init_lora_weights: { kaiming: true, gaussian: 'gaussian', random: false }[options.init],
    kasa_config: null,
    layer_replication: null,
    layers_pattern: blocks ? (options.blockPattern ?? null) : null,
    layers_to_transform: blocks?.toSorted((a, b) => a - b) ?? null,
    loftq_config: {},
    lora_alpha: options.alpha,
    lora_bias: false,
    lora_dropout: options.dropout,
    lora_ga_config: null,
    megatron_config: null,
    megatron_core: 'megatron.core',
    modules_to_save: modulesToSave?.toSorted() ?? null,
    monteclora_config: null,
    peft_type: 'LORA',
    peft_version: '0.21.2',
    qalora_group_size: 16,
    r: options.rank,
    rank_pattern: options.rankPattern,
    revision: null,
    target_modules: targets.toSorted(),
    target_parameters: null,
    task_type: 'CAUSAL_LM',
    trainable_token_indices: null,
    use_bdlora: null,
    use_dora: false,
    use_qalora: false,
    use_rslora: options.rsLora,
    velora_config: null,
  };
  return JSON.stringify(fields, null, 2);
}
