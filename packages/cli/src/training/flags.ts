import { adamwOptions, LftError, trainingOptions } from '@lft/core';
import type { Command } from 'commander';
import { readConfigFile } from '../config-file.js';
import type { DottedFlags } from '../dotted-flags.js';
import { kebabCase } from '../option-names.js';
import { FlagText, fieldFacts, fieldsOf } from '../option-values.js';
import { findPlugin, knownPlugins, type PluginKind } from '../plugins/find-plugin.js';
import { layered, type Settings } from '../settings.js';
import { type Output, wrap } from '../terminal/output.js';
import { WEIGHTS_FLAG } from '../weights-flag.js';
import { readRunRecord } from './run-record.js';

/** Flags of the data sources, which have no schema to show: documented in @lft/data. */
const DATA_OPTIONS: readonly (readonly [flag: string, about: string])[] = [
  ['--data.validation <share|file>', 'what is held out (0.05)'],
  ['--data.limit <integer>', 'rows or documents, from the top of the file'],
  ['--data.lossOn <response|all>', 'what the loss is taken on (response)'],
  ['--data.packing <true|false>', 'several rows in one; text: stream|documents|none'],
  ['--data.tooLong <error|truncate|skip>', 'rows longer than --max-length (error)'],
  ['--data.chatTemplate <text>', 'Jinja text for template chat'],
  ['--data.separator <text>', 'between the documents of a text file'],
];

/** Flags of `train` and `rank`; those of the training options come from their schema. */
export function addTrainingFlags(command: Command): Command {
  command
    .option('--model <folder>', 'model folder: config.json, *.safetensors, tokenizer.json')
    .option('--data <file>', 'training data: .jsonl, .json, or text')
    .option(
      '--template <name>',
      'alpaca|plain|chat|text: how a row becomes text (by the file: text for .txt, else alpaca)',
    )
    .option('--adapter <name>', `what is trained: ${knownPlugins('adapter').join(', ')}, a package or a path (lora)`)
    .option(
      '--selector <name>',
      `when each layer trains: ${knownPlugins('selector').join(', ')}, a package or a path (fixed)`,
    )
    .option('--optimizer <name>', 'adamw')
    .option('--out <folder>', 'run folder (runs/MODEL-ADAPTER-SELECTOR)')
    .option('--resume', 'go on with the run in --out; needs no other flag')
    .option('--config <file>', 'config file (lft.config.ts, where there is one); flags win over it')
    .option(...WEIGHTS_FLAG)
    .option('--backend <name>', 'native, wasm or what lft doctor lists (the fastest that works)')
    .option(
      '--sample <prompt>',
      'prompt to answer before and after training; repeatable',
      (prompt: string, all: string[] = []) => [...all, prompt],
    )
    .option('--sample-tokens <integer>', 'longest answer to it, in tokens (64)')
    .option('--json', 'one JSON object a line on stdout, nothing else');
  for (const [name, field] of Object.entries(fieldsOf(trainingOptions))) {
    const { expects, description, default: value } = fieldFacts(field);
    const text = [description, value === undefined ? '' : `(${value})`].filter(Boolean).join(' ');
    command.option(`--${kebabCase(name)} <${expects}>`, text);
  }
  return command;
}

/** Flags that commander read, as settings. */
function flagSettings(flags: Readonly<Record<string, unknown>>, dotted: DottedFlags): Settings {
  const text = (key: string) => (flags[key] === undefined ? {} : { [key]: flags[key] as string });
  const owner = (key: 'adapter' | 'selector' | 'optimizer') => {
    const options = { ...(flags[key] === undefined ? {} : { name: flags[key] }), ...dotted[key] };
    return Object.keys(options).length > 0 ? { [key]: options } : {};
  };
  const data = {
    ...(flags.data === undefined ? {} : { file: flags.data }),
    ...(flags.template === undefined ? {} : { template: flags.template }),
    ...dotted.data,
  };
  const training = Object.keys(fieldsOf(trainingOptions)).flatMap((name) =>
    flags[name] === undefined ? [] : [[name, new FlagText(`--${kebabCase(name)}`, flags[name] as string)]],
  );
  return {
    ...text('model'),
    ...text('out'),
    ...text('weights'),
    ...text('backend'),
    ...(Object.keys(data).length > 0 ? { data } : {}),
    ...owner('adapter'),
    ...owner('selector'),
    ...owner('optimizer'),
    ...(flags.sample === undefined ? {} : { samples: flags.sample as string[] }),
    ...(flags.sampleTokens === undefined
      ? {}
      : { sampleTokens: new FlagText('--sample-tokens', flags.sampleTokens as string) }),
    training: Object.fromEntries(training),
  };
}

/** Settings of a run, and the config file that they came from. */
export interface GatheredSettings {
  readonly settings: Settings;
  readonly config: string | undefined;
  readonly resume: boolean;
}

/**
 * Lays flags over the config file over the defaults; on resume, over what the run was started with.
 * @throws LftError options-invalid, file-missing, checkpoint-invalid
 */
export async function gatherSettings(
  flags: Readonly<Record<string, unknown>>,
  dotted: DottedFlags,
  defaults: Settings,
): Promise<GatheredSettings> {
  const given = flagSettings(flags, dotted);
  const resume = flags.resume === true;
  if (resume && given.out !== undefined) {
    const record = readRunRecord(given.out);
    if (record) {
      const configFile = (flags.config as string | undefined) ?? record.config;
      const file = configFile === undefined ? undefined : await readConfigFile(configFile);
      // A template that is a function lives in the config file only.
      const below =
        flags.config === undefined ? (file ? pickTemplate(file.settings) : { training: {} }) : file!.settings;
      return { settings: layered(layered(below, record.settings), given), config: file?.file, resume };
    }
    if (given.model === undefined && flags.config === undefined) {
      throw new LftError(
        'checkpoint-invalid',
        `${given.out} holds no run that lft started (there is no lft.json): give the folder of a run, or start one without --resume`,
        { folder: given.out },
      );
    }
  }
  const file = await readConfigFile(flags.config as string | undefined);
  const settings = layered(layered(defaults, file?.settings ?? { training: {} }), given);
  if (resume && settings.out === undefined) {
    throw new LftError('options-invalid', '--resume needs the folder of the run: give --out DIR');
  }
  return { settings, config: file?.file, resume };
}

function pickTemplate({ data }: Settings): Settings {
  return { training: {}, ...(data?.template === undefined ? {} : { data: { template: data.template } }) };
}

/** Help for the dotted flags: of the data, the optimizer, and the adapter and selector that the other flags name. */
export async function dottedHelp(
  args: readonly string[],
  defaults: { selector: string },
  output: Output,
): Promise<string> {
  const named = (kind: PluginKind, otherwise: string) => {
    const at = args.findIndex((arg) => arg === `--${kind}` || arg.startsWith(`--${kind}=`));
    if (at < 0) return otherwise;
    return args[at]!.includes('=') ? args[at]!.slice(kind.length + 3) : (args[at + 1] ?? otherwise);
  };
  const adapter = await findPlugin('adapter', named('adapter', 'lora'));
  const selector = await findPlugin('selector', named('selector', defaults.selector));
  const section = (title: string, rows: readonly (readonly [string, string])[]) =>
    `${wrap(title, output.columns).join('\n')}\n${rows.map(([flag, about]) => optionLines(flag, about, output.columns)).join('\n')}\n`;
  const rows = (owner: string, schema: Parameters<typeof fieldsOf>[0]) =>
    Object.entries(fieldsOf(schema)).map(([name, field]): [string, string] => {
      const { expects, description, default: value } = fieldFacts(field);
      const shown = value === undefined ? '' : `(${typeof value === 'object' ? JSON.stringify(value) : value})`;
      return [`--${owner}.${name} <${expects}>`, [description, shown].filter(Boolean).join(' ')];
    });
  return [
    '',
    section('Data options:', DATA_OPTIONS),
    section(`Adapter ${adapter.plugin.name}: ${adapter.plugin.summary}`, rows('adapter', adapter.plugin.options)),
    section(`Selector ${selector.plugin.name}: ${selector.plugin.summary}`, rows('selector', selector.plugin.options)),
    section('Optimizer adamw:', rows('optimizer', adamwOptions)),
    'Give --adapter or --selector with --help to see the options of another one.',
  ].join('\n');
}

/** Column where the explanations of dotted flags begin. */
const ABOUT = 38;

function optionLines(flag: string, about: string, columns: number): string {
  const lines = wrap(about, Math.max(30, columns - ABOUT - 1));
  const indent = `\n${' '.repeat(ABOUT)}`;
  const start = `  ${flag}`;
  return start.length < ABOUT - 1 ? start.padEnd(ABOUT) + lines.join(indent) : start + indent + lines.join(indent);
}
