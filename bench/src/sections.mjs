import path from 'node:path';
import { PYTORCH_SETTINGS } from './cases.mjs';
import { figures, memoryAboveWeights } from './figures.mjs';
import { environmentBytes, installedBytes } from './installed-size.mjs';

const NONE = '–';
/** Cores that others may keep busy before a row is doubtful: PyTorch's threads wait in a loop, and lose most of their speed to a neighbour. */
const BUSY = 0.3;
/** Rows of a profile; the rest is one line. */
const PROFILE_ROWS = 20;

const times = (ratio) => (Number.isFinite(ratio) ? `${ratio.toFixed(2)}×` : NONE);
const percent = (share) => (Number.isFinite(share) ? `${(100 * share).toFixed(0)} %` : NONE);
const megabytes = (bytes) => `${(bytes / 1024 ** 2).toFixed(0)} MB`;
const few = (value) => (value < 100 ? value.toFixed(1) : value.toFixed(0));

/** The fastest product in a format, whoever makes it: what a step is measured by. */
export function productPeak(peaks, format) {
  const wanted = format === 'f32' ? 'f32' : 'bf16';
  const values = Object.entries(peaks).flatMap(([name, bySize]) =>
    name.includes(wanted) ? Object.values(bySize) : [],
  );
  return values.length > 0 ? Math.max(...values) : undefined;
}

export function peakSection(peaks) {
  const sizes = [...new Set(Object.values(peaks).flatMap((bySize) => Object.keys(bySize)))].sort((a, b) => a - b);
  return {
    title: 'Matrix products',
    head: ['setting', ...sizes.map((size) => `${size}³, GFLOPS`)],
    rows: Object.entries(peaks).map(([name, bySize]) => [
      name,
      ...sizes.map((size) => bySize[size]?.toFixed(0) ?? NONE),
    ]),
    notes: [
      'The largest figure of a format is the peak that steps are measured by; int8 steps by that of bf16. It is the most of two rounds, at the beginning and the end.',
    ],
  };
}

export function caseSection(results, peaks) {
  const rows = results.flatMap((one) => {
    const peak = productPeak(peaks, one.weights);
    const rowOf = ({ setting, runs }, name) => ({ setting, name, of: runs && figures(one, runs, peak) });
    const ours = one.ours.map((side) => rowOf(side, `lft ${one.weights}, ${side.setting}`));
    const theirs = one.theirs.map((side) => rowOf(side, PYTORCH_SETTINGS[side.setting]));
    const base = ours[0].of;
    return [...ours, ...theirs].flatMap(({ name, of }, i) => {
      if (!of) return [];
      const label = [one.name, name];
      if (of.failed) return [[...label, `failed: ${of.failed}`, ...Array(8).fill(NONE)]];
      const beside = i > 0 && base && !base.failed;
      // Same weights and same tokens: the first losses differ by the order of the rows only.
      const wrong = beside && Math.abs(of.loss / base.loss - 1) > 0.01 ? ' (!)' : '';
      return [
        [
          ...label,
          few(of.step),
          few(of.tokensPerSecond),
          beside ? times(base.tokensPerSecond / of.tokensPerSecond) : NONE,
          percent(of.ofPeak),
          of.peak.toFixed(0),
          beside ? times(base.peak / of.peak) : NONE,
          of.firstStep.toFixed(1),
          `${of.loss.toFixed(3)}${wrong}`,
          `${of.others.toFixed(1)}${of.others > BUSY ? ' (!)' : ''}`,
        ],
      ];
    });
  });
  return {
    title: 'Steps',
    head: [
      'case',
      'setting',
      'ms a step',
      'tokens/s',
      'lft’s speed ÷',
      '% of peak',
      'peak MB',
      'lft’s memory ÷',
      'first step, s',
      'first loss',
      'others, cores',
    ],
    rows,
    notes: rows.some((row) => row.at(-1).endsWith('(!)'))
      ? [
          `(!) Other processes kept more than ${BUSY} cores busy, so that these rows say little: run it again on an idle machine.`,
        ]
      : [],
  };
}

/** Methods of this library beside each other. */
export function ownSection(results) {
  const find = (one, method, i) => {
    const found = results.find(
      (other) =>
        other.method === method && ['shape', 'weights', 'batch', 'length'].every((key) => other[key] === one[key]),
    );
    const of = found?.ours[i].runs && figures(found, found.ours[i].runs);
    return of?.failed ? undefined : of;
  };
  const rows = results.flatMap((one) =>
    one.ours.flatMap(({ setting }, i) => {
      const other = { lisa: 'full', ist: 'lora-all' }[one.method];
      const mine = find(one, one.method, i);
      const its = other && find(one, other, i);
      if (!mine || !its) return [];
      const memory = memoryAboveWeights(one, mine) / memoryAboveWeights(one, its);
      return [
        [
          one.name,
          `lft ${setting}, beside its ${other}`,
          times(mine.tokensPerSecond / its.tokensPerSecond),
          times(memory),
        ],
      ];
    }),
  );
  return {
    title: 'LISA beside full, IST beside LoRA',
    head: ['case', 'setting', 'speed', 'memory above the weights'],
    rows,
  };
}

export function userJobSection({ steps, rows, tokens, results }) {
  const [base] = results;
  const wall = (run) => (run.saved - run.began) / 1000;
  return {
    title: `The job of a user: ${steps} LoRA steps, from the command to the adapter on disk`,
    head: [
      'setting',
      'seconds',
      'lft’s time ÷',
      'first step, s',
      'peak MB',
      'lft’s memory ÷',
      'tokens',
      'held-out loss',
    ],
    rows: results.map((run, i) => {
      if (run.failed) return [run.name, `failed: ${run.failed}`, ...Array(6).fill(NONE)];
      const beside = i > 0 && !base.failed;
      return [
        run.name,
        wall(run).toFixed(1),
        beside ? times(wall(base) / wall(run)) : NONE,
        ((run.firstStep - run.began) / 1000).toFixed(1),
        run.peak.toFixed(0),
        beside ? times(base.peak / run.peak) : NONE,
        run.tokens,
        run.heldOutLoss.toFixed(4),
      ];
    }),
    notes: [
      `${rows} rows of at most ${tokens} tokens, two a step. Imports, load and compilation are in the time; the held-out loss is taken after.`,
    ],
  };
}

export function profileSections({ name }, backend, { failed, profile }) {
  const title = `Where the time of a step goes: ${name}, lft ${backend}`;
  if (failed) return [{ title, head: ['op'], rows: [[`failed: ${failed}`]] }];
  const table = (kind, entries) => {
    const shown = entries.slice(0, PROFILE_ROWS);
    const rest = entries.slice(PROFILE_ROWS);
    const sum = (list, field) => list.reduce((total, entry) => total + entry[field], 0);
    const row = ({ name, calls, ms, share }) => [name, few(calls), ms.toFixed(1), `${(100 * share).toFixed(1)} %`];
    const rows = shown.map(row);
    if (rest.length > 0)
      rows.push(
        row({ name: `${rest.length} more`, calls: sum(rest, 'calls'), ms: sum(rest, 'ms'), share: sum(rest, 'share') }),
      );
    const outside = profile.step - sum(entries, 'ms');
    rows.push(
      ['outside all of them', NONE, outside.toFixed(1), percent(outside / profile.step)],
      ['whole step', NONE, profile.step.toFixed(1), '100 %'],
    );
    return { title: `${title}, by ${kind}`, head: [kind, 'calls', 'ms a step', 'share'], rows };
  };
  return [
    { ...table('op', profile.operations), notes: ['What an op runs inside is in its time.'] },
    { ...table('kernel', profile.kernels), notes: ['Each kernel without what it runs inside.'] },
  ];
}

export function sizeSection(python, backend) {
  const packages = ['@lft/core', '@lft/lora', '@lft/ist', '@lft/lisa', '@lft/data'];
  if (backend !== 'wasm') packages.push(`@lft/backend-${backend}`);
  const rows = [[`node_modules of a program: ${packages.join(', ')}`, megabytes(installedBytes(packages))]];
  if (python) {
    const { all, processorOnly } = environmentBytes(path.resolve(path.dirname(python), '..'));
    rows.push(['Python environment: torch, transformers, peft', megabytes(all)]);
    rows.push(['the same without what only graphics cards use', megabytes(processorOnly)]);
  }
  return { title: 'Installed size', head: ['what', 'size'], rows };
}
