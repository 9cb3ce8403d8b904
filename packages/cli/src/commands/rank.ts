import { LftError } from '@lft/core';
import { addTrainingFlags, dottedHelp, gatherSettings } from '../training/flags.js';
import { resolveRun } from '../training/resolve-run.js';
import { runTraining } from '../training/run-training.js';
import { asksHelp, type DefineCommand } from './command.js';

const EXAMPLES = `
Examples:
  lft rank --model models/stories260K --data data/tinyshakespeare.txt \\
           --adapter.targets all-linear --steps 50 --out runs/ranking
  lft rank --selector ist --model MODEL --data rows.jsonl --steps 100
  lft train --model MODEL --data rows.jsonl --selector fixed \\
            --selector.importance runs/ranking/importance.json --selector.keep 0.75
`;

/** Trains all modules and ranks them after the last step. */
const DEFAULTS = { selector: { name: 'ila', after: 'rank' }, training: {} };

export const define: DefineCommand = async (command, { output, dotted, args, exit }) => {
  addTrainingFlags(command).action(async (flags) => {
    const gathered = await gatherSettings(flags, dotted, DEFAULTS);
    const resolved = await resolveRun(gathered, 'rank');
    if (resolved.selector.name === 'fixed') {
      throw new LftError(
        'options-invalid',
        'selector fixed ranks nothing: give one that does, e.g. --selector ila or --selector ist',
      );
    }
    exit(await runTraining(resolved, output, Number.POSITIVE_INFINITY));
  });
  if (asksHelp(args)) command.addHelpText('after', await dottedHelp(args, { selector: 'ila' }, output));
  command.addHelpText('after', EXAMPLES);
};
