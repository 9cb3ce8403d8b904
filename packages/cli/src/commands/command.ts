import type { Command } from 'commander';
import type { DottedFlags } from '../dotted-flags.js';
import type { Output } from '../terminal/output.js';

/** What a command is given besides its own flags. */
export interface CommandContext {
  readonly output: Output;
  readonly dotted: DottedFlags;
  /** Arguments after the command's name, dotted flags included. */
  readonly args: readonly string[];
  /** Takes the exit code; 0 when it is not called. */
  exit(code: number): void;
}

/** Adds flags, help and action to a command that is made already. */
export type DefineCommand = (command: Command, context: CommandContext) => void | Promise<void>;

/** Whether the arguments ask for help. */
export function asksHelp(args: readonly string[]): boolean {
  return args.includes('--help') || args.includes('-h');
}
