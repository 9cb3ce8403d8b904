import { existsSync } from 'node:fs';
import path from 'node:path';
import {
  type Adapter,
  adamw,
  adamwOptions,
  type DataSource,
  ensureBackend,
  type LayerSelector,
  LftError,
  type Optimizer,
  parseOptions,
  type TrainingOptions,
  trainingOptions,
} from '@lft/core';
import { type InstructionsOptions, instructions, type TextOptions, text } from '@lft/data';
import { z } from 'zod';
import { oneOf } from '../one-of.js';
import { FlagText, fieldsOf, guessValue, readOptions, readValue } from '../option-values.js';
import { findPlugin } from '../plugins/find-plugin.js';
import type { PromptForm } from '../prompt.js';
import type { OptionValues } from '../settings.js';
import { type Weights, weightsOf } from '../weights-flag.js';
import type { GatheredSettings } from './flags.js';
import type { RunRecord } from './run-record.js';

const TEMPLATES = ['alpaca', 'plain', 'chat', 'text'];

/** All that a run needs, made and checked as far as that goes without the model. */
export interface ResolvedRun {
  readonly model: string;
  readonly weights: Weights;
  readonly backend: string;
  readonly data: DataSource;
  readonly adapter: Adapter;
  readonly selector: LayerSelector;
  readonly optimizer: Optimizer;
  readonly training: TrainingOptions;
  readonly out: string;
  readonly resume: boolean;
  readonly samples: readonly string[];
  readonly sampleTokens: number;
  readonly promptForm: PromptForm;
  readonly record: RunRecord;
}

/** @throws LftError options-invalid, plugin-not-found, plugin-invalid and what the plugins find wrong */
export async function resolveRun(gathered: GatheredSettings, command: RunRecord['command']): Promise<ResolvedRun> {
  const { settings, config, resume } = gathered;
  const model = need(settings.model, 'the model', '--model FOLDER', 'model');
  const data = resolveData(settings.data ?? {});
  const adapter = await resolvePlugin('adapter', settings.adapter ?? {}, 'lora');
  const selector = await resolvePlugin('selector', settings.selector ?? {}, 'fixed');
  const { name: optimizerName = 'adamw', ...optimizerValues } = settings.optimizer ?? {};
  if (optimizerName !== 'adamw') {
    throw new LftError('options-invalid', `--optimizer: there is adamw only, not "${optimizerName}"`);
  }
  const optimizer = readOptions('optimizer', 'adamw', optimizerValues, adamwOptions);
  const training = resolveTraining(settings.training);
  const weights = weightsOf(settings.weights);
  const backend = settings.backend ?? (await ensureBackend());
  const samples = settings.samples ?? [];
  const sampleTokens = readInteger(settings.sampleTokens, 64);
  const out = settings.out ?? freeFolder(model, adapter.name, selector.name);
  const { template, ...dataRecord } = data.options;
  const isFunction = typeof template === 'function';
  return {
    model,
    weights,
    backend,
    data: data.source,
    adapter: adapter.made,
    selector: selector.made,
    optimizer: adamw(optimizer),
    training,
    out,
    resume,
    samples,
    sampleTokens,
    promptForm: {
      template: isFunction ? 'plain' : String(template),
      chatTemplate: data.options.chatTemplate as string | undefined,
    },
    record: {
      version: 1,
      command,
      ...(isFunction && config !== undefined ? { config } : {}),
      settings: {
        model,
        data: isFunction ? dataRecord : data.options,
        adapter: { name: adapter.name, ...adapter.options },
        selector: { name: selector.name, ...selector.options },
        optimizer: { name: optimizerName, ...optimizer },
        weights,
        backend,
        samples: [...samples],
        sampleTokens,
        training: { ...training },
      },
    },
  };
}

function need(value: unknown, what: string, flag: string, key: string): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new LftError('options-invalid', `${what} is missing: give ${flag}, or ${key} in lft.config.ts`);
}

function readInteger(value: unknown, otherwise: number): number {
  if (value instanceof FlagText) return readValue(value, z.int().positive()) as number;
  return parseOptions('config', z.object({ sampleTokens: z.int().positive().default(otherwise) }), {
    sampleTokens: value,
  }).sampleTokens;
}

function resolveTraining(values: OptionValues): TrainingOptions {
  const fields = fieldsOf(trainingOptions);
  const read = Object.entries(values).map(([name, value]) => [
    name,
    value instanceof FlagText ? readValue(value, fields[name]!) : value,
  ]);
  const given = Object.fromEntries(read) as TrainingOptions;
  parseOptions('training', trainingOptions, given);
  return given;
}

function resolveData(values: OptionValues): { source: DataSource; options: OptionValues } {
  const { file, template: given, ...raw } = values;
  const path = need(file, 'the data', '--data FILE', 'data.file');
  const template =
    given instanceof FlagText ? given.text : (given ?? (/\.(jsonl|ndjson|json)$/i.test(path) ? 'alpaca' : 'text'));
  if (typeof template !== 'function' && !TEMPLATES.includes(template as string))
    oneOf('--template', String(template), TEMPLATES);
  const options = Object.fromEntries(
    Object.entries(raw).map(([name, value]) => [name, value instanceof FlagText ? guessValue(value) : value]),
  );
  const source =
    template === 'text'
      ? text(path, options as TextOptions)
      : instructions(path, { ...options, template } as InstructionsOptions);
  return { source, options: { file: path, template, ...options } };
}

async function resolvePlugin<Kind extends 'adapter' | 'selector'>(kind: Kind, values: OptionValues, otherwise: string) {
  const { name: given = otherwise, ...raw } = values;
  const name = String(given);
  const { plugin } = await findPlugin(kind, name);
  const options = readOptions(kind, `${kind} ${plugin.name}`, raw, plugin.options);
  const made = plugin.create(options) as Kind extends 'adapter' ? Adapter : LayerSelector;
  return { name, options, made };
}

/** runs/MODEL-ADAPTER-SELECTOR, numbered where it is taken. */
function freeFolder(model: string, adapter: string, selector: string): string {
  const short = (name: string) => path.basename(path.resolve(name)).replace(/\.[cm]?js$/, '');
  const first = path.join('runs', [model, adapter, selector].map(short).join('-'));
  for (let i = 1; ; i++) {
    const folder = i === 1 ? first : `${first}-${i}`;
    if (!existsSync(folder)) return folder;
  }
}
