import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { LftError, nearestName, type TrainingOptions, trainingOptions } from '@lft/core';
import type { CustomTemplate } from '@lft/data';
import type { Settings } from './settings.js';
import type { Weights } from './weights-flag.js';

/** What `lft.config.ts` exports: the flags of `lft train`, under the same names. */
export interface LftConfig extends TrainingOptions {
  /** Folder of the model. */
  readonly model?: string;
  /** The file, its template, and further options of the data source. */
  readonly data?: {
    readonly file: string;
    readonly template?: 'alpaca' | 'plain' | 'chat' | 'text' | CustomTemplate;
    readonly [option: string]: unknown;
  };
  readonly adapter?: PluginConfig;
  readonly selector?: PluginConfig;
  readonly optimizer?: { readonly name?: string; readonly [option: string]: unknown };
  readonly weights?: Weights;
  readonly backend?: string;
  /** Run folder. */
  readonly out?: string;
  /** Prompts that the model answers before and after training. */
  readonly samples?: readonly string[];
  /** Longest answer to them, in tokens. */
  readonly sampleTokens?: number;
}

/** A plugin's name, alone or with its options. */
export type PluginConfig = string | { readonly name: string; readonly [option: string]: unknown };

/** Gives `lft.config.ts` its types. */
export function defineConfig(config: LftConfig): LftConfig {
  return config;
}

const NAMES = ['ts', 'mts', 'js', 'mjs', 'cjs', 'json'].map((extension) => `lft.config.${extension}`);
const OWN_KEYS = [
  'model',
  'data',
  'adapter',
  'selector',
  'optimizer',
  'weights',
  'backend',
  'out',
  'samples',
  'sampleTokens',
];

/**
 * Reads the file given, or `lft.config.*` of the working directory.
 * @returns undefined when none was given and there is none
 * @throws LftError file-missing, options-invalid
 */
export async function readConfigFile(given?: string): Promise<{ file: string; settings: Settings } | undefined> {
  const file = given ?? NAMES.find((name) => existsSync(name));
  if (file === undefined) return undefined;
  if (!existsSync(file)) {
    throw new LftError('file-missing', `${file}: there is no such config file. Give the path of an lft.config.ts.`, {
      path: file,
    });
  }
  return { file, settings: checkConfig(file, await load(file)) };
}

async function load(file: string): Promise<unknown> {
  const { loadConfig } = await import('c12');
  const absolute = path.resolve(file);
  try {
    const { config } = await loadConfig({
      cwd: path.dirname(absolute),
      configFile: absolute,
      rcFile: false,
      globalRc: false,
      packageJson: false,
      dotenv: false,
      extend: false,
      envName: false,
      // So that the file finds defineConfig where the command is installed elsewhere.
      jitiOptions: { alias: { '@lft/cli': fileURLToPath(new URL('./index.js', import.meta.url)) } },
    });
    return config;
  } catch (cause) {
    throw new LftError('options-invalid', `${file} cannot be loaded: ${(cause as Error).message}`, { file }, { cause });
  }
}

function checkConfig(file: string, value: unknown): Settings {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LftError('options-invalid', `${file} exports no object; export default defineConfig({ … })`, { file });
  }
  const config = value as LftConfig & Record<string, unknown>;
  const known = [...OWN_KEYS, ...Object.keys(trainingOptions.shape)];
  for (const key of Object.keys(config)) {
    if (known.includes(key)) continue;
    const near = nearestName(key, known);
    throw new LftError(
      'options-invalid',
      `${file}: unknown key "${key}"${near ? `; did you mean "${near}"?` : ''} There is: ${known.join(', ')}`,
      { file, key },
    );
  }
  const { model, data, adapter, selector, optimizer, weights, backend, out, samples, sampleTokens, ...training } =
    config;
  const plugin = (given: PluginConfig) => (typeof given === 'string' ? { name: given } : given);
  return {
    ...(model !== undefined && { model }),
    ...(data !== undefined && { data }),
    ...(adapter !== undefined && { adapter: plugin(adapter) }),
    ...(selector !== undefined && { selector: plugin(selector) }),
    ...(optimizer !== undefined && { optimizer }),
    ...(weights !== undefined && { weights }),
    ...(backend !== undefined && { backend }),
    ...(out !== undefined && { out }),
    ...(samples !== undefined && { samples }),
    ...(sampleTokens !== undefined && { sampleTokens }),
    training,
  };
}
