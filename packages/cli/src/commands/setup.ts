import { backendPackage, LftError } from '@lft/core';
import { packageFolders } from '../backends.js';
import type { DefineCommand } from './command.js';

const EXAMPLES = `
What it does:
  finds tfjs-node in the working directory, fetches the TensorFlow library with
  pip into the cache (or takes the one of --library), compiles the addon against
  it, and checks a product and its gradient. Needs g++ or clang++, and pip.

Examples:
  lft setup tensorflow
  lft setup tensorflow --gpu
  lft setup tensorflow --library venv/lib/python3.11/site-packages/tensorflow
`;

const TENSORFLOW = 'tensorflow';
const PACKAGE = '@lft/backend-tensorflow';

export const define: DefineCommand = (command, { output }) => {
  command
    .argument('<backend>', 'tensorflow: the one backend that needs it')
    .usage('<backend> [options]')
    .allowExcessArguments(false)
    .option('--gpu', 'tfjs-node-gpu, against TensorFlow with CUDA')
    .option('--tensorflow <version>', 'version that pip fetches (2.15.1)')
    .option('--library <folder>', 'folder of an installed TensorFlow')
    .option('--json', 'one JSON object on stdout')
    .addHelpText('after', EXAMPLES)
    .action(async (backend: string, { gpu, tensorflow, library }: SetupFlags) => {
      if (backend !== TENSORFLOW) {
        throw new LftError(
          'options-invalid',
          `there is nothing to set up for "${backend}": the one that needs it is tensorflow`,
        );
      }
      const module = (await backendPackage(TENSORFLOW, packageFolders())) as TensorFlowModule | undefined;
      if (!module) {
        throw new LftError('backend-unavailable', `${PACKAGE} is not installed: npm i ${PACKAGE}, and once more`, {
          package: PACKAGE,
        });
      }
      const flags = { gpu, tensorflow, library };
      const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
      const result = await module.setupTensorFlow(given, (line) => output.line(line));
      output.event(result);
      output.line(`Ready in ${result.seconds.toFixed(1)} s: lft train --backend tensorflow`);
    });
};

interface SetupFlags {
  readonly gpu?: boolean;
  readonly tensorflow?: string;
  readonly library?: string;
}

type TensorFlowModule = typeof import('@lft/backend-tensorflow');
