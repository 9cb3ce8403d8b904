import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';

const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../..');

export interface QuickstartOptions {
  readonly model: string;
  readonly data: string;
  readonly template: 'text' | 'alpaca' | 'chat' | 'plain';
  readonly prompt: string;
  readonly adapter: 'lora' | 'full';
  readonly selector: 'ist' | 'all';
  readonly rank: number;
  readonly learningRate: number;
  readonly steps: number;
  readonly batchSize: number;
  readonly maxLength: number;
  readonly seed: number;
  readonly out: string;
}

const number = (text: string) => Number(text);

/** What to run: by default the bundled model on the bundled text. */
export function readOptions(argv: readonly string[]): QuickstartOptions {
  const program = new Command('quickstart')
    .description('Fine-tunes a language model with LoRA, layer by layer as IST chooses, and shows what came of it.')
    .option('--model <folder>', 'Hugging Face folder', path.join(ROOT, 'models/stories260K'))
    .option('--data <file>', 'text, or rows for --template', path.join(ROOT, 'data/tinyshakespeare.txt'))
    .addOption(
      new Option('--template <name>', 'how rows become text')
        .choices(['text', 'alpaca', 'chat', 'plain'])
        .default('text'),
    )
    .option('--prompt <text>', 'what the model continues or answers before and after')
    .addOption(new Option('--adapter <name>', 'what is trained').choices(['lora', 'full']).default('lora'))
    .addOption(new Option('--selector <name>', 'when each layer trains').choices(['ist', 'all']).default('ist'))
    .option('--rank <number>', "LoRA's rank", number, 16)
    .option('--learning-rate <number>', 'peak learning rate; default: 5e-3 for the bundled model, else 2e-4', number)
    .option('--steps <number>', 'optimizer steps', number, 120)
    .option('--batch-size <number>', 'examples a step', number, 8)
    .option('--max-length <number>', 'tokens in a row', number, 128)
    .option('--seed <number>', 'for everything random', number, 0)
    .option('--out <folder>', 'where the run goes; default: a new folder in runs/')
    .addHelpText(
      'after',
      `
Examples:
  npm run quickstart
  npm run quickstart -- --adapter full
  npm run quickstart -- --model ../SmolLM2-135M-Instruct --data alpaca.jsonl --template alpaca --steps 30 --batch-size 2 --max-length 256`,
    );
  const given = program
    .parse([...argv], { from: 'user' })
    .opts<Partial<QuickstartOptions> & Omit<QuickstartOptions, 'learningRate' | 'out' | 'prompt'>>();
  const bundled = program.getOptionValueSource('model') === 'default';
  const stamp = new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-');
  return {
    ...given,
    prompt: given.prompt ?? (given.template === 'text' ? 'ROMEO:\n' : 'Give three tips for staying healthy.'),
    learningRate: given.learningRate ?? (bundled ? 5e-3 : 2e-4),
    out: given.out ?? path.join(ROOT, 'runs', `quickstart-${stamp}`),
  };
}
