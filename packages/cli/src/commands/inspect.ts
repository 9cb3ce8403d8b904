import { stat } from 'node:fs/promises';
import path from 'node:path';
import { HuggingFaceFolder, LftError, readImportance, SafetensorsFile } from '@lft/core';
import { readRun } from '@lft/report';
import { type AdapterFolder, readAdapterFolder } from '../plugins/load-adapter.js';
import { bytesText, countText, durationText, lossText, shareText } from '../terminal/numbers.js';
import type { Output } from '../terminal/output.js';
import { ranked, rankingTable } from '../terminal/ranking.js';
import { facts, table } from '../terminal/tables.js';
import type { DefineCommand } from './command.js';

const EXAMPLES = `
Examples:
  lft inspect models/stories260K
  lft inspect runs/shakespeare
  lft inspect runs/shakespeare/adapter
  lft inspect runs/ranking/importance.json
`;

export const define: DefineCommand = (command, { output }) => {
  command
    .argument('<path>', 'model folder, adapter folder, run folder or importance.json')
    .usage('<path> [options]')
    .allowExcessArguments(false)
    .option('--json', 'one JSON object on stdout')
    .addHelpText('after', EXAMPLES)
    .action(async (target: string) => inspect(target, output));
};

async function inspect(target: string, output: Output): Promise<void> {
  const kind = await kindOf(target);
  if (kind === 'importance') inspectImportance(target, output);
  else if (kind === 'run') await inspectRun(target, output);
  else if (kind === 'adapter') await inspectAdapter(await readAdapterFolder(target), output);
  else await inspectModel(target, output);
}

async function kindOf(target: string): Promise<'model' | 'adapter' | 'run' | 'importance'> {
  const there = await stat(target).catch(() => undefined);
  if (!there) throw new LftError('file-missing', `${target}: there is no such file or folder`, { path: target });
  if (there.isFile()) return 'importance';
  const has = (name: string) =>
    stat(path.join(target, name)).then(
      () => true,
      () => false,
    );
  if ((await has('adapter_config.json')) || (await has('adapter.json'))) return 'adapter';
  if ((await has('metrics.jsonl')) || (await has('checkpoints'))) return 'run';
  return 'model';
}

interface ModuleRow {
  readonly module: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly count: number;
  readonly values: number;
}

/** From the files' headers alone: no weight is read, and any architecture can be shown. */
async function inspectModel(folder: string, output: Output): Promise<void> {
  const files = await HuggingFaceFolder.open(folder);
  try {
    const config = files.config as Record<string, unknown>;
    const rows = moduleRows(files.tensors);
    const total = rows.reduce((sum, { values }) => sum + values, 0);
    const stored = [...new Set(rows.map(({ dtype }) => dtype))].join(', ');
    const architecture = String((config.architectures as string[] | undefined)?.[0] ?? config.model_type ?? 'unknown');
    const blocks = Math.max(0, ...rows.map(({ count }) => count));
    const tied = config.tie_word_embeddings === true;
    output.event({ kind: 'model', path: folder, architecture, blocks, values: total, tied, modules: rows });
    output.line(
      facts(
        [
          ['model', folder],
          ['architecture', architecture],
          ['blocks', countText(blocks)],
          ['width', numberOf(config.hidden_size ?? config.n_embd)],
          ['vocabulary', numberOf(config.vocab_size)],
          ['context', numberOf(config.max_position_embeddings ?? config.n_positions)],
          ['head', tied ? 'shares the weight of the embedding' : 'has a weight of its own'],
          ['values', `${countText(total)}, stored as ${stored}`],
          ['memory', memoryText(rows)],
        ],
        output,
      ),
    );
    output.line();
    output.line(
      table(
        [
          { title: 'module' },
          { title: 'shape', align: 'right' },
          { title: 'count', align: 'right' },
          { title: 'values', align: 'right' },
          { title: 'share', align: 'right' },
        ],
        rows.map(({ module, shape, count, values }) => [
          module,
          shape.join(' × '),
          String(count),
          countText(values),
          shareText(values / total),
        ]),
        output,
      ),
    );
  } finally {
    await files.close();
  }
}

/** By the formats that `--weights` takes: int8 and nf4 hold the matrices of the blocks, the rest is bf16 beside them. */
function memoryText(rows: readonly ModuleRow[]): string {
  const bytes = (ofBlocks: number) =>
    rows.reduce((sum, { module, shape, values }) => {
      const quantised = module.includes('.N.') && shape.length === 2;
      return sum + values * (quantised ? ofBlocks : Math.max(2, ofBlocks));
    }, 0);
  const formats = { f32: 4, bf16: 2, int8: 1, nf4: 4.5 / 8 };
  return Object.entries(formats)
    .map(([name, ofBlocks]) => `${bytesText(bytes(ofBlocks))} as ${name}`)
    .join(', ');
}

/** Tensors that differ in the number of their block only are one row. */
function moduleRows(tensors: HuggingFaceFolder['tensors']): ModuleRow[] {
  const rows = new Map<string, ModuleRow>();
  for (const [name, { shape, dtype }] of sortedByForward(tensors)) {
    const module = name.replace(/\.\d+\./, '.N.').replace(/\.weight$/, '');
    const key = `${module} ${shape.join()} ${dtype}`;
    const size = shape.reduce((product, length) => product * length, 1);
    const before = rows.get(key);
    rows.set(key, { module, shape, dtype, count: (before?.count ?? 0) + 1, values: (before?.values ?? 0) + size });
  }
  return [...rows.values()];
}

const ORDER = [
  'embed',
  'wte',
  'input_layernorm',
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'post_attention',
  'gate_proj',
  'up_proj',
  'down_proj',
  '.norm',
  'ln_f',
  'lm_head',
];

/** Files list tensors by name; people think in the order of the forward pass. */
function sortedByForward(tensors: HuggingFaceFolder['tensors']) {
  const rank = (name: string) => {
    const at = ORDER.findIndex((part) => name.includes(part));
    return at < 0 ? ORDER.indexOf('.norm') - 0.5 : at;
  };
  return [...tensors].sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b, 'en', { numeric: true }));
}

async function inspectAdapter(
  { folder, kind, format, description, baseModel }: AdapterFolder,
  output: Output,
): Promise<void> {
  const weights = path.join(folder, kind === 'peft' ? 'adapter_model.safetensors' : 'adapter.safetensors');
  const file = await SafetensorsFile.open(weights);
  try {
    const shapes = [...file.tensors.values()].map(({ shape }) => shape);
    const values = shapes.reduce((sum, shape) => sum + shape.reduce((product, length) => product * length, 1), 0);
    const bytes = [...file.tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0);
    output.event({
      kind: 'adapter',
      path: folder,
      format,
      baseModel: baseModel ?? null,
      tensors: shapes.length,
      values,
    });
    const peft: [string, string][] =
      kind === 'peft'
        ? [
            ['rank', String(description.r ?? '–')],
            ['alpha', String(description.lora_alpha ?? '–')],
            ['targets', [description.target_modules ?? '–'].flat().join(', ')],
          ]
        : [['options', JSON.stringify(description.options ?? {})]];
    output.line(
      facts(
        [
          ['adapter', folder],
          ['format', kind === 'peft' ? `${format}, as PEFT writes it` : format],
          ['base model', baseModel ?? 'not named'],
          ...peft,
          ['tensors', `${countText(shapes.length)} with ${countText(values)} values, ${bytesText(bytes)}`],
        ],
        output,
      ),
    );
  } finally {
    await file.close();
  }
}

async function inspectRun(folder: string, output: Output): Promise<void> {
  const { config, steps, evaluations, timings, ranking } = await readRun(folder);
  const losses = evaluations.flatMap(({ validationLoss }) => (validationLoss === null ? [] : [validationLoss]));
  const seconds = timings.reduce((sum, timing) => sum + timing.seconds, 0);
  const last = steps.at(-1)?.loss ?? null;
  output.event({
    kind: 'run',
    path: folder,
    steps: steps.length,
    of: config.training.steps,
    validationLoss: { before: losses[0] ?? null, after: losses.at(-1) ?? null },
    ranking: ranking ? ranked(ranking.scores) : null,
  });
  const heldOut =
    losses.length > 1
      ? `${lossText(losses[0]!)} before, ${lossText(losses.at(-1)!)} after`
      : losses.map(lossText).join();
  output.line(
    facts(
      [
        ['run', folder],
        ['model', `${config.model.source} (${config.model.architecture})`],
        ['data', config.data.description ?? '–'],
        ['adapter', config.adapter.name],
        ['selector', `${config.selector.name} over ${config.units.length} units (${config.selector.granularity})`],
        ['trains', `${countText(config.trainable)} of ${countText(config.total)} values`],
        ['steps', `${countText(steps.length)} of ${countText(config.training.steps)} in ${durationText(seconds)}`],
        ['held-out loss', heldOut || 'not measured'],
        ['training loss', last === null ? '–' : `${lossText(last)} in the last step`],
      ],
      output,
    ),
  );
  if (ranking) {
    output.line();
    output.line(`  Layers by importance (${ranking.method})`);
    output.line(rankingTable(ranked(ranking.scores), output));
  }
}

function inspectImportance(file: string, output: Output): void {
  const { method, granularity, model, adapter, seed, step, scores } = readImportance(file);
  output.event({ kind: 'importance', path: file, method, granularity, model, ranking: ranked(scores) });
  output.line(
    facts(
      [
        ['ranking', file],
        ['method', `${method}, by ${granularity}`],
        ['model', model.source],
        ['adapter', adapter.name],
        ['made', `after ${countText(step)} steps, seed ${seed}`],
      ],
      output,
    ),
  );
  output.line();
  output.line(rankingTable(ranked(scores), output));
}

function numberOf(value: unknown): string {
  return typeof value === 'number' ? countText(value) : '–';
}
