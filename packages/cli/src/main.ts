import { LftError } from '@lft/core';
import { Command, CommanderError } from 'commander';
import { asksHelp, type DefineCommand } from './commands/command.js';
import { takeDottedFlags } from './dotted-flags.js';
import { Output, type TextStream } from './terminal/output.js';
import { packageVersion } from './version.js';

/** Where `main` writes. Default: the process's own streams. */
export interface MainStreams {
  readonly stdout?: TextStream;
  readonly stderr?: TextStream;
}

interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  /** Loaded when it is asked for: each brings its own part of the library. */
  load(): Promise<{ readonly define: DefineCommand }>;
}

const COMMANDS: readonly CommandEntry[] = [
  { name: 'train', summary: 'train an adapter, by the layers that matter', load: () => import('./commands/train.js') },
  { name: 'rank', summary: 'find out which layers matter', load: () => import('./commands/rank.js') },
  { name: 'generate', summary: 'continue a text, or answer a message', load: () => import('./commands/generate.js') },
  {
    name: 'merge',
    summary: 'build an adapter into the weights of its model',
    load: () => import('./commands/merge.js'),
  },
  {
    name: 'inspect',
    summary: 'show what a model, adapter, run or ranking holds',
    load: () => import('./commands/inspect.js'),
  },
  { name: 'doctor', summary: 'check what works on this machine', load: () => import('./commands/doctor.js') },
  { name: 'setup', summary: 'build what a backend needs', load: () => import('./commands/setup.js') },
];

const EXAMPLES = `
Examples:
  lft train --model MODEL --data rows.jsonl --selector ist --steps 100
  lft generate --adapter runs/MODEL-lora-ist --prompt "Name a cat."
  lft help train
`;

/** Exit code of an error that is not the user's: EX_SOFTWARE of sysexits. */
const SOFTWARE_ERROR = 70;

/**
 * Runs the command line.
 * @param argv arguments after `lft`
 * @returns the exit code: 0, 1 for an error that its message explains, 130 after Ctrl-C, 70 for a fault of lft or of a plugin
 */
export async function main(argv: readonly string[], streams: MainStreams = {}): Promise<number> {
  const output = new Output(
    streams.stdout ?? process.stdout,
    streams.stderr ?? process.stderr,
    argv.includes('--json'),
  );
  try {
    return await run(argv[0] === 'help' && argv.length === 2 ? [argv[1]!, '--help'] : argv, output);
  } catch (error) {
    return report(error, output);
  }
}

async function run(argv: readonly string[], output: Output): Promise<number> {
  const [name, ...args] = argv;
  const { dotted, rest } = takeDottedFlags(args);
  let code = 0;
  const program = new Command('lft')
    .description('Fine-tune language models by the layers that matter.')
    .version(packageVersion())
    .helpCommand('help [command]', 'show the help of a command')
    .exitOverride()
    // The flags are long: beside them stays less than commander thinks worth wrapping.
    .configureHelp({ minWidthToWrap: 24 })
    .configureOutput({
      writeOut: (text) => void output.stdout.write(text),
      // What is wrong is told once, by report().
      writeErr: () => undefined,
      getOutHelpWidth: () => output.columns,
    })
    .addHelpText('after', EXAMPLES);
  for (const entry of COMMANDS) {
    const command = program
      .command(entry.name)
      .description(`${entry.summary[0]!.toUpperCase()}${entry.summary.slice(1)}.`);
    command
      .summary(entry.summary)
      .usage('[options]')
      .allowExcessArguments(entry.name === 'inspect' || entry.name === 'setup');
    if (entry.name !== name) continue;
    const { define } = await entry.load();
    await define(command, {
      output,
      dotted,
      args,
      exit(value) {
        code = value;
      },
    });
  }
  if (name === undefined) {
    program.outputHelp();
    return 0;
  }
  refuseStrayDots(name, dotted, args);
  await program.parseAsync([name, ...rest], { from: 'user' });
  return code;
}

/** Only training has dotted options. */
function refuseStrayDots(
  name: string,
  dotted: ReturnType<typeof takeDottedFlags>['dotted'],
  args: readonly string[],
): void {
  if (name === 'train' || name === 'rank' || asksHelp(args)) return;
  const stray = Object.values(dotted).flatMap((flags) => Object.values(flags))[0];
  if (stray)
    throw new LftError('options-invalid', `unknown option ${stray.flag}: it belongs to lft train and lft rank`);
}

function report(error: unknown, output: Output): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    output.error('options-invalid', oneLine(error.message));
    return 1;
  }
  if (LftError.is(error)) {
    output.error(error.code, error.message, process.env.LFT_DEBUG ? error.stack : undefined);
    return 1;
  }
  const message = error instanceof Error ? error.message : String(error);
  const hint = 'This is a fault of lft or of a plugin. Set LFT_DEBUG=1 to see where it happened.';
  output.error('unexpected', message, process.env.LFT_DEBUG && error instanceof Error ? error.stack : hint);
  return SOFTWARE_ERROR;
}

/** "error: unknown option '--step'\n(Did you mean --steps?)" on one line, without its beginning. */
function oneLine(message: string): string {
  return message
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean (.*)\?\)$/, '; did you mean $1?')
    .replaceAll('\n', ' ');
}
