import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { Command, Option } from 'commander';
import { root } from '../../scripts/workspace.mjs';
import { BACKENDS, hasBackend } from './backend.mjs';
import { selectCases } from './cases.mjs';
import { runChild, THREADS } from './child.mjs';
import { cacheFolder, judgePython, judgeVersions } from './judge.mjs';
import { machineFacts } from './machine.mjs';
import { printSections, writeSections } from './report.mjs';
import { caseSection, ownSection, peakSection, profileSections, sizeSection, userJobSection } from './sections.mjs';
import { IST_SHARE, LISA_ACTIVE, modelFolder, RANK, SHAPES } from './shapes.mjs';
import { writeTokens } from './tokens.mjs';
import { runUserJob } from './user-job-run.mjs';

/** Minutes after which --quick starts nothing more; what the compiler takes up to two minutes for must start earlier. */
const QUICK_MINUTES = 9;
const QUICK_MINUTES_COMPILE = 7;

/** Compares this library with PyTorch + PEFT. */
export async function compare(args) {
  const options = parse(args);
  const [backend] = options.backend;
  const began = Date.now();
  const minutes = () => (Date.now() - began) / 60000;
  const cases = selectCases({ ...options, backend });
  const python = options.pytorch ? judgePython() : undefined;
  const cache = path.join(cacheFolder, 'bench');
  mkdirSync(cache, { recursive: true });
  const facts = machineFacts(python && judgeVersions(python));
  let interrupted = false;
  process.once('SIGINT', () => {
    interrupted = true;
  });

  const peaks = await measurePeaks(options, python);
  const runs = new Map();
  const left = [];
  const fits = (setting) =>
    !interrupted &&
    (!options.quick || minutes() < (setting === 'bf16-compile' ? QUICK_MINUTES_COMPILE : QUICK_MINUTES));
  // All in turn, and again from the start: a machine that gets slower or faster does it to all of them.
  for (let round = 0; round < options.rounds; round++) {
    for (const one of cases) {
      const folder = await modelFolder(one.shape, cache);
      const settings = caseSettings(one, options, folder, writeTokens(cache, SHAPES[one.shape].vocabulary));
      const sides = [
        ...options.backend.map((name) => ['ours', name]),
        ...(python ? one.settings : []).map((name) => ['theirs', name]),
      ];
      for (const [side, setting] of sides) {
        const key = runKey(one, side, setting);
        const before = runs.get(key) ?? [];
        // bf16 runs also serve int8, and what failed is not run again.
        if (before.length > round || before.some((run) => run.failed)) continue;
        if (!fits(setting)) {
          if (before.length === 0) left.push(`${one.name} (${setting})`);
          continue;
        }
        process.stdout.write(`${one.name}, ${setting} ... `);
        const run =
          side === 'ours'
            ? await runChild('ours.mjs', { ...settings, backend: setting })
            : await runChild('pytorch.py', { ...settings, setting }, { python });
        process.stdout.write(run.failed ? `${run.failed}\n` : `${run.steps.map(Math.round).join(' ')} ms\n`);
        runs.set(key, [...before, run]);
      }
    }
  }

  const results = cases.map((one) => ({
    ...one,
    ours: options.backend.map((name) => ({ setting: name, runs: runs.get(runKey(one, 'ours', name)) })),
    theirs: one.settings.map((setting) => ({ setting, runs: runs.get(runKey(one, 'theirs', setting)) })),
  }));
  // Again at the end: what the machine gives changes with who else uses it, and the peak is the most that it gave.
  if (!interrupted) keepBest(peaks, await measurePeaks(options, python));
  const sections = [
    { title: 'Machine', head: [' ', 'what'], rows: facts },
    peakSection(peaks),
    caseSection(results, peaks),
    ownSection(results),
  ];
  if (options.model && !interrupted) {
    const job = await runUserJob({ ...options, python, cache, threads: THREADS });
    sections.push(userJobSection(job));
  }
  if (options.profile) {
    for (const one of profiledCases(cases, options)) {
      if (interrupted) break;
      const folder = await modelFolder(one.shape, cache);
      const settings = caseSettings(one, options, folder, writeTokens(cache, SHAPES[one.shape].vocabulary));
      process.stdout.write(`${one.name}, op by op ...\n`);
      sections.push(
        ...profileSections(one, backend, await runChild('ours.mjs', { ...settings, backend, profile: true })),
      );
    }
  }
  sections.push(sizeSection(python, backend));

  const command = ['npm run bench --', ...args.map((arg) => (path.isAbsolute(arg) ? path.basename(arg) : arg))].join(
    ' ',
  );
  const about = [
    `${new Date(began).toISOString().slice(0, 10)}, ${minutes().toFixed(1)} minutes${interrupted ? ', interrupted' : ''}.`,
    `${THREADS} threads on both sides.`,
    left.length > 0 ? `Left out, since the time of --quick was up: ${left.join(', ')}.` : '',
  ];
  const shown = sections.filter(({ rows }) => rows.length > 0);
  printSections(shown);
  console.log(`\n${about.filter(Boolean).join(' ')}`);
  const file = options.out ?? (options.only ? undefined : path.join(root, 'bench', 'RESULTS.md'));
  if (!file) return;
  const introduction = `# Results\n\n\`\`\`sh\n${command}\n\`\`\`\n\n${about.filter(Boolean).join('\n')}\nHow to read the tables: [README.md](README.md).`;
  writeSections(file, introduction, shown);
  console.log(`Written to ${path.relative(process.cwd(), file)}.`);
}

function parse(args) {
  const program = new Command('bench')
    .description('Fine-tuning steps of this library beside PyTorch + PEFT, on this machine.')
    .option('--quick', 'the most telling cases, at most 10 minutes on 2 idle cores')
    .option('--only <name...>', 'cases whose name has one of these in it, like 135M-lora-qv')
    .addOption(
      new Option(
        '--backend <name...>',
        'of this library; ratios are those of the first. Default: native, or wasm',
      ).choices(BACKENDS),
    )
    .option('--model <folder>', 'real model for the job of a user: a Hugging Face folder (with --data)')
    .option('--data <file>', 'rows with instruction, input and output (JSONL)')
    .option('--steps <number>', 'steps of that job', Number, 200)
    .option('--rounds <number>', 'how often everything is measured, all in turn', Number, 1)
    .option('--profile', "where a step's time goes, op by op")
    .option('--no-pytorch', 'this library alone')
    .option('--out <file>', 'where the report goes; default: bench/RESULTS.md, and nowhere with --only');
  const options = program.parse(args, { from: 'user' }).opts();
  options.backend ??= [hasBackend('native') ? 'native' : 'wasm'];
  const missing = options.backend.find((name) => !hasBackend(name));
  if (missing) {
    program.error(
      `--backend ${missing}: @lft/backend-${missing} is not there. Build or install it, or use --backend wasm.`,
    );
  }
  if ((options.model === undefined) !== (options.data === undefined)) program.error('--model and --data go together');
  for (const name of ['steps', 'rounds']) {
    if (!(Number.isInteger(options[name]) && options[name] > 0))
      program.error(`--${name} takes a whole number above 0`);
  }
  return options;
}

/** What identifies a run: int8 on our side stands beside the same bf16 runs of PyTorch. */
function runKey({ shape, method, weights, batch, length }, side, setting) {
  return [shape, method, side === 'ours' ? weights : '', `${batch}x${length}`, side, setting].join(' ');
}

/** What both sides are told. */
function caseSettings({ method, weights, batch, length }, { quick }, folder, tokens) {
  return {
    folder,
    tokens,
    method,
    weights,
    batch,
    length,
    threads: THREADS,
    rank: RANK,
    lisa_active: LISA_ACTIVE,
    ist_share: IST_SHARE,
    warmup: 2,
    least: quick ? 3 : 5,
    seconds: quick ? 2 : 8,
    // Short, so that switches and importance rounds fall into what is measured.
    interval: quick ? 3 : 5,
  };
}

/** What is profiled: with --only all that it names, else LoRA on bf16 weights by shape. */
function profiledCases(cases, { only }) {
  return only ? cases : cases.filter(({ name }) => name.includes('-lora-qv-bf16-2x256'));
}

/** GFLOPS of matrix products, by who multiplies and how. */
async function measurePeaks({ quick, backend }, python) {
  console.log('Matrix products ...');
  const seconds = quick ? 0.7 : 2;
  const peaks = {};
  for (const name of backend) {
    // One wasm thread takes three seconds for one of the largest.
    const sizes = name === 'wasm' || quick ? [1024, 2048] : [1024, 2048, 4096];
    const { peaks: ours, failed } = await runChild('product-peak.mjs', { backend: name, sizes, seconds });
    if (failed) console.log(`${name}: ${failed}`);
    for (const [format, bySize] of Object.entries(ours ?? {})) peaks[`lft ${name} ${format}`] = bySize;
  }
  if (python) {
    const sizes = quick ? [1024, 2048] : [1024, 2048, 4096];
    const { peaks: theirs, failed } = await runChild(
      'product-peak.py',
      { sizes, seconds, threads: THREADS },
      { python },
    );
    if (failed) console.log(`PyTorch: ${failed}`);
    for (const [name, bySize] of Object.entries(theirs ?? {})) peaks[`PyTorch ${name}`] = bySize;
  }
  return peaks;
}

function keepBest(peaks, later) {
  for (const [name, bySize] of Object.entries(later)) {
    peaks[name] ??= {};
    for (const [size, rate] of Object.entries(bySize)) peaks[name][size] = Math.max(rate, peaks[name][size] ?? 0);
  }
}
