import { stackedBars } from './bar-chart.js';
import { bins, type Point, smooth } from './curve.js';
import { chartFigure, legend } from './figure.js';
import { type Html, html } from './html.js';
import { type Curve, lineChart } from './line-chart.js';
import { formatDuration, formatNumber } from './number-format.js';
import type { RunRecord } from './run-record.js';

const ACCENT = 'var(--accent)';
const SECOND = 'var(--second)';
const FAINT = 'color-mix(in srgb,var(--accent) 45%,transparent)';
const SMALL_HEIGHT = 210;

/** A record of step i is drawn at i + 1: it is known when i + 1 steps are done. */
function points<Item extends { step: number }>(
  records: readonly Item[],
  value: (item: Item) => number | null | undefined,
): Point[] {
  return records.flatMap((record) => {
    const y = value(record);
    return typeof y === 'number' ? [[record.step + 1, y] as const] : [];
  });
}

/** The last step that is shown. */
function lastStep({ steps, evaluations }: RunRecord): number {
  return Math.max((steps.at(-1)?.step ?? -1) + 1, evaluations.at(-1)?.step ?? 0);
}

/** Half of the weight of the smoothed curves lies in the last 2 % of the steps. */
function halfLife(count: number): number {
  return Math.max(1, count / 50);
}

export function lossSection(run: RunRecord): Html | undefined {
  const training = points(run.steps, ({ loss }) => loss);
  const held = run.evaluations.flatMap(({ step, validationLoss }): Point[] =>
    validationLoss === null ? [] : [[step, validationLoss]],
  );
  if (training.length + held.length === 0) return undefined;
  return html`<h2>Loss</h2>
${chartFigure({
  id: 'loss',
  title: 'Loss per token',
  caption: 'Mean cross-entropy in nats of the tokens that are learned; lower is better.',
  legend: legend([
    { name: 'training, every step', color: FAINT },
    { name: 'training, smoothed', color: ACCENT },
    ...(held.length > 0 ? [{ name: 'held-out text', color: SECOND, mark: 'dot' as const }] : []),
  ]),
  height: 320,
  option: (width) =>
    lineChart({
      width,
      steps: lastStep(run),
      format: formatNumber,
      curves: [...noisy(training), { points: held, color: SECOND, width: 1.5, marks: true }],
    }),
})}`;
}

const EVERY_AND_SMOOTHED = legend([
  { name: 'every step', color: FAINT },
  { name: 'smoothed', color: ACCENT },
]);

export function optimizationSection(run: RunRecord): Html | undefined {
  if (run.steps.length === 0) return undefined;
  const chart = { steps: lastStep(run), format: formatNumber, fromZero: true };
  const rates = points(run.steps, ({ learningRate }) => learningRate);
  const norms = points(run.steps, ({ gradientNorm }) => gradientNorm);
  return html`<h2>Optimization</h2>
<div class="pair">${chartFigure(
    {
      id: 'rate',
      title: 'Learning rate',
      legend: legend([{ name: 'scheduled', color: ACCENT }]),
      height: SMALL_HEIGHT,
      option: (width) => lineChart({ ...chart, width, curves: [{ points: rates, color: ACCENT, width: 2 }] }),
    },
    'half',
  )}${chartFigure(
    {
      id: 'norm',
      title: 'Gradient norm, before clipping',
      legend: EVERY_AND_SMOOTHED,
      height: SMALL_HEIGHT,
      option: (width) => lineChart({ ...chart, width, curves: noisy(norms) }),
    },
    'half',
  )}</div>`;
}

export function resourceSection(run: RunRecord): Html | undefined {
  const { timings } = run;
  if (timings.length === 0) return undefined;
  const steps = lastStep(run);
  const probed = timings.some(({ probeSeconds }) => (probeSeconds ?? 0) > 0);
  const speed = points(timings, ({ tokensPerSecond }) => tokensPerSecond);
  return html`<h2>Time and memory</h2>
<div class="pair">${chartFigure(
    {
      id: 'time',
      title: 'Time of a step',
      legend: legend([
        { name: 'training', color: ACCENT },
        ...(probed ? [{ name: 'asking for scores', color: SECOND }] : []),
      ]),
      height: SMALL_HEIGHT,
      option: (width) => stackedBars(timeBars(timings), steps, width, formatSeconds),
    },
    'third',
  )}${
    speed.length > 0
      ? chartFigure(
          {
            id: 'speed',
            title: 'Tokens per second',
            legend: EVERY_AND_SMOOTHED,
            height: SMALL_HEIGHT,
            option: (width) => lineChart({ width, steps, format: formatNumber, fromZero: true, curves: noisy(speed) }),
          },
          'third',
        )
      : ''
  }${memoryFigure(timings, steps)}</div>`;
}

function memoryFigure(timings: RunRecord['timings'], steps: number): Html | undefined {
  const process = points(timings, ({ rssBytes }) => rssBytes);
  const tensors = points(timings, ({ tensorBytes }) => tensorBytes);
  if (process.length + tensors.length === 0) return undefined;
  // Round numbers of the unit that is shown, not of bytes, make the ticks.
  const most = Math.max(...[...process, ...tensors].map(([, bytes]) => bytes));
  const [unit, name] = most >= 1024 ** 3 ? [1024 ** 3, 'GiB'] : [1024 ** 2, 'MiB'];
  const scaled = (curve: readonly Point[]) => curve.map(([x, bytes]): Point => [x, bytes / unit]);
  return chartFigure(
    {
      id: 'memory',
      title: `Memory in ${name}`,
      legend: legend([
        ...(process.length > 0 ? [{ name: 'process', color: ACCENT }] : []),
        ...(tensors.length > 0 ? [{ name: 'tensors', color: SECOND }] : []),
      ]),
      height: SMALL_HEIGHT,
      option: (width) =>
        lineChart({
          width,
          steps,
          format: formatNumber,
          fromZero: true,
          curves: [
            { points: scaled(process), color: ACCENT, width: 2 },
            { points: scaled(tensors), color: SECOND, width: 2 },
          ],
        }),
    },
    'third',
  );
}

/** Every point thin, the average thick. */
function noisy(curve: readonly Point[]): Curve[] {
  return [
    { points: curve, color: ACCENT, width: 1, opacity: 0.4 },
    ...(curve.length > 2 ? [{ points: smooth(curve, halfLife(curve.length)), color: ACCENT, width: 2.2 }] : []),
  ];
}

/** Mean seconds of training and of probing in at most 60 stretches of the run. `seconds` counts the whole step, its probe included. */
function timeBars(timings: RunRecord['timings']): [number, number, number, number][] {
  return bins(timings.length, 60).map(({ from, to }) => {
    const part = timings.slice(from, to);
    const total = part.reduce((sum, { seconds }) => sum + seconds, 0) / part.length;
    const probe = part.reduce((sum, { probeSeconds }) => sum + (probeSeconds ?? 0), 0) / part.length;
    return [part[0]!.step, part.at(-1)!.step + 1, Math.max(0, total - probe), probe];
  });
}

function formatSeconds(seconds: number): string {
  return seconds === 0 ? '0' : seconds < 60 ? `${formatNumber(seconds)} s` : formatDuration(seconds);
}
