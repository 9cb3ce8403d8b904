import { LftError, nearestName } from '@lft/core';
import { camelCase } from './option-names.js';
import { FlagText } from './option-values.js';

/** What has options of its own: `--selector.active 2`. */
export const OWNERS = ['data', 'adapter', 'selector', 'optimizer'] as const;
export type Owner = (typeof OWNERS)[number];

export type DottedFlags = Readonly<Record<Owner, Readonly<Record<string, FlagText>>>>;

/**
 * Takes the dotted flags out of the arguments; the rest is for the commands' own flags.
 * @throws LftError options-invalid when the part before the dot is unknown
 */
export function takeDottedFlags(args: readonly string[]): { dotted: DottedFlags; rest: string[] } {
  const dotted: Record<Owner, Record<string, FlagText>> = { data: {}, adapter: {}, selector: {}, optimizer: {} };
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    const match = /^--([\w-]+)\.([\w-]+)(?:=(.*))?$/s.exec(arg);
    if (!match) {
      rest.push(arg);
      continue;
    }
    const [, owner, name, inline] = match;
    const flag = `--${owner}.${name}`;
    if (!OWNERS.includes(owner as Owner)) {
      const near = nearestName(owner!, OWNERS);
      throw new LftError(
        'options-invalid',
        `unknown option ${flag}${near ? `; did you mean --${near}.${name}?` : `: dotted options belong to ${OWNERS.join(', ')}`}`,
        { flag },
      );
    }
    const next = args[i + 1];
    const text = inline ?? (next === undefined || next.startsWith('--') ? 'true' : next);
    if (inline === undefined && text === next) i++;
    dotted[owner as Owner][camelCase(name!)] = new FlagText(flag, text);
  }
  return { dotted, rest };
}
