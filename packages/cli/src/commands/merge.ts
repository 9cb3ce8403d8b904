import { existsSync, readdirSync } from 'node:fs';
import { AdaptedModel, LftError, loadModel, mergeIntoFolder } from '@lft/core';
import { startBackend } from '../backends.js';
import { loadAdapter, readAdapterFolder } from '../plugins/load-adapter.js';
import { facts } from '../terminal/tables.js';
import type { DefineCommand } from './command.js';

const EXAMPLES = `
Examples:
  lft merge --model models/stories260K --adapter runs/shakespeare/adapter --out models/shakespeare
  lft merge --adapter runs/shakespeare --out models/shakespeare
`;

export const define: DefineCommand = (command, { output }) => {
  command
    .option('--model <folder>', "model folder (the adapter's own, where it names one)")
    .requiredOption('--adapter <folder>', 'saved adapter, or a run folder')
    .requiredOption('--out <folder>', 'new model folder, which needs no adapter')
    .option('--json', 'one JSON object on stdout')
    .addHelpText('after', EXAMPLES)
    .action(async (flags: { model?: string; adapter: string; out: string }) => {
      const folder = await readAdapterFolder(flags.adapter);
      const source = flags.model ?? folder.baseModel;
      if (source === undefined) throw new LftError('options-invalid', 'the model is missing: give --model FOLDER');
      if (existsSync(flags.out) && readdirSync(flags.out).length > 0) {
        throw new LftError(
          'output-not-writable',
          `${flags.out} is not empty: give a new folder. Nothing was changed.`,
          { path: flags.out },
        );
      }
      await startBackend(undefined);
      const adapter = await loadAdapter(folder);
      const model = await loadModel(source);
      let adapted: AdaptedModel | undefined;
      try {
        adapted = new AdaptedModel(model, adapter);
        await mergeIntoFolder(adapted, flags.out);
      } finally {
        adapted?.dispose();
        await model.dispose();
      }
      output.event({ model: source, adapter: folder.folder, out: flags.out });
      output.line(
        facts(
          [
            ['model', source],
            ['adapter', `${folder.folder} (${folder.format})`],
            ['merged', flags.out],
          ],
          output,
        ),
      );
    });
};
