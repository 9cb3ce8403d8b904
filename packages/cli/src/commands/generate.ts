import { AdaptedModel, generate, generateOptions, LftError, loadModel, parseOptions } from '@lft/core';
import { loadTokenizer, streamDecoder } from '@lft/data';
import { startBackend } from '../backends.js';
import { onInterrupt } from '../interrupt.js';
import { kebabCase } from '../option-names.js';
import { FlagText, fieldFacts, fieldsOf, readValue } from '../option-values.js';
import { loadAdapter, readAdapterFolder } from '../plugins/load-adapter.js';
import { promptIds } from '../prompt.js';
import { INTERRUPTED } from '../training/run-training.js';
import { WEIGHTS_FLAG, weightsOf } from '../weights-flag.js';
import type { DefineCommand } from './command.js';

const EXAMPLES = `
Examples:
  lft generate --model models/stories260K --prompt "Once upon a time"
  lft generate --adapter runs/shakespeare/adapter --prompt "ROMEO:" --temperature 0.8
  lft generate --model MODEL --adapter runs/chat --chat "Who are you?" --max-new-tokens 200
  lft generate --model MODEL --prompt "Name a cat." --template alpaca --json
`;

export const define: DefineCommand = (command, { output, exit }) => {
  command
    .option('--model <folder>', "model folder (the adapter's own, where it names one)")
    .option('--adapter <folder>', 'saved adapter, or a run folder')
    .option('--prompt <text>', 'text to continue')
    .option('--chat <message>', "message to answer, through the tokenizer's chat template")
    .option('--template <name>', 'plain|alpaca: how the prompt is put (plain)')
    .option(...WEIGHTS_FLAG)
    .option('--backend <name>', 'native, wasm or what lft doctor lists (the fastest that works)')
    .option('--json', 'one JSON object with the text on stdout');
  for (const [name, field] of Object.entries(fieldsOf(generateOptions))) {
    const { expects, description, default: value } = fieldFacts(field);
    command.option(`--${kebabCase(name)} <${expects}>`, [description, `(${value})`].filter(Boolean).join(' '));
  }
  command.addHelpText('after', EXAMPLES).action(async (flags) => {
    exit(await run(flags, output));
  });
};

async function run(
  flags: Readonly<Record<string, string>>,
  output: Parameters<DefineCommand>[1]['output'],
): Promise<number> {
  const { prompt, chat, template = 'plain' } = flags;
  if ((prompt === undefined) === (chat === undefined)) {
    throw new LftError('options-invalid', 'give one of --prompt TEXT and --chat MESSAGE');
  }
  if (!['plain', 'alpaca'].includes(template)) {
    throw new LftError(
      'options-invalid',
      `--template takes plain|alpaca, not "${template}"; a chat message goes to --chat`,
    );
  }
  const sampling = parseOptions('generate', generateOptions, readFlags(flags));
  const folder = flags.adapter === undefined ? undefined : await readAdapterFolder(flags.adapter);
  const source = flags.model ?? folder?.baseModel;
  if (source === undefined) throw new LftError('options-invalid', 'the model is missing: give --model FOLDER');

  await startBackend(flags.backend);
  const adapter = folder && (await loadAdapter(folder));
  const model = await loadModel(source, { weights: weightsOf(flags.weights) });
  const interrupt = onInterrupt(() => undefined);
  let adapted: AdaptedModel | undefined;
  try {
    adapted = new AdaptedModel(model, adapter);
    const tokenizer = await loadTokenizer(source);
    const ids = promptIds(tokenizer, chat ?? prompt!, { template: chat === undefined ? template : 'chat' });
    const decoder = streamDecoder(tokenizer, ids);
    const stopIds = [...new Set([...tokenizer.stopTokenIds, ...model.info.eosTokenIds])];
    if (chat === undefined && template === 'plain') output.text(output.color.dim(prompt!));
    let text = '';
    const add = (piece: string) => {
      text += piece;
      output.text(piece);
    };
    const { signal } = interrupt;
    const tokens = await generate(adapted, ids, {
      ...sampling,
      stopIds,
      signal,
      onToken: (id) => add(decoder.push(id)),
    });
    add(decoder.flush());
    output.line();
    output.event({ text, tokens: tokens.length, promptTokens: ids.length });
    return signal.aborted ? INTERRUPTED : 0;
  } finally {
    interrupt.release();
    adapted?.dispose();
    await model.dispose();
  }
}

function readFlags(flags: Readonly<Record<string, string>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fieldsOf(generateOptions)).flatMap(([name, field]) =>
      flags[name] === undefined ? [] : [[name, readValue(new FlagText(`--${kebabCase(name)}`, flags[name]), field)]],
    ),
  );
}
