import { addTrainingFlags, dottedHelp, gatherSettings } from '../training/flags.js';
import { resolveRun } from '../training/resolve-run.js';
import { runTraining } from '../training/run-training.js';
import { asksHelp, type DefineCommand } from './command.js';

const EXAMPLES = `
Examples:
  lft train --model models/stories260K --data data/tinyshakespeare.txt \\
            --adapter lora --adapter.rank 8 --adapter.targets q_proj,v_proj \\
            --selector ist --selector.active 2 --optimizer.learningRate 2e-4 \\
            --steps 200 --batch-size 8 --out runs/shakespeare
  lft train --resume --out runs/shakespeare
  lft train --config lft.config.ts --seed 1 --out runs/seed-1
  lft train --model MODEL --data rows.jsonl --template chat --sample "Who are you?"
  lft train --help --selector lisa
`;

/** Most rows of a ranking at the end of a training. */
const TOP = 10;

export const define: DefineCommand = async (command, { output, dotted, args, exit }) => {
  addTrainingFlags(command).action(async (flags) => {
    const gathered = await gatherSettings(flags, dotted, { training: {} });
    exit(await runTraining(await resolveRun(gathered, 'train'), output, TOP));
  });
  if (asksHelp(args)) command.addHelpText('after', await dottedHelp(args, { selector: 'fixed' }, output));
  command.addHelpText('after', EXAMPLES);
};
