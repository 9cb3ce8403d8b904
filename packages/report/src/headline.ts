import { median } from './curve.js';
import { type Html, html } from './html.js';
import { formatBytes, formatCount, formatDuration, formatLoss, formatNumber, formatShare } from './number-format.js';
import type { RunRecord } from './run-record.js';

interface Fact {
  readonly name: string;
  readonly value: string;
  readonly more?: string | undefined;
  /** Twice as wide: `hero` in large digits, `wide` for a longer text. */
  readonly size?: 'hero' | 'wide';
}

/** The facts that one wants to know of a run first. */
export function headline(run: RunRecord): Html {
  return html`<dl class="facts">${facts(run).map(
    ({ name, value, more, size }) =>
      html`<div${size ? html` class="${size}"` : ''}><dt>${name}</dt><dd>${value}</dd>${more ? html`<dd class="more">${more}</dd>` : ''}</div>
`,
  )}</dl>`;
}

function facts({ config, steps, evaluations, timings }: RunRecord): Fact[] {
  const tokens = steps.reduce((sum, step) => sum + step.tokens, 0);
  const seconds = timings.reduce((sum, timing) => sum + timing.seconds, 0);
  const probing = timings.reduce((sum, timing) => sum + (timing.probeSeconds ?? 0), 0);
  const memory = largest(timings.map(({ rssBytes }) => rssBytes));
  const tensors = largest(timings.map(({ tensorBytes }) => tensorBytes));
  const speed = median(timings.map(({ tokensPerSecond }) => tokensPerSecond).filter(isNumber));
  const size = new Map(config.units.map((unit) => [unit.id, unit.size]));
  const moved = steps.reduce((sum, { active }) => sum + active.reduce((all, id) => all + (size.get(id) ?? 0), 0), 0);
  const perStep = steps.length > 0 ? moved / steps.length : 0;
  const list: (Fact | undefined)[] = [
    lossFact(steps, evaluations),
    {
      name: 'Model',
      value: baseName(config.model.source),
      more: [config.model.architecture, config.model.blocks && `${config.model.blocks} blocks`]
        .filter(Boolean)
        .join(', '),
    },
    { name: 'Adapter', value: config.adapter.name, more: describeOptions(config.adapter.options) },
    { name: 'Data', value: config.data.description ?? '–', size: 'wide' },
    {
      name: 'Selector',
      value: config.selector.name,
      more: [`by ${config.selector.granularity}`, describeOptions(config.selector.options)].filter(Boolean).join(', '),
    },
    {
      name: 'Trainable',
      value: formatShare(config.trainable / config.total),
      more: `${formatCount(config.trainable)} of ${formatCount(config.total)} parameters${
        perStep > 0 && perStep < 0.999 * config.trainable ? `; ${formatCount(perStep)} in a step on average` : ''
      }`,
    },
    {
      name: 'Steps',
      value: steps.length.toLocaleString('en-US'),
      more:
        steps.length < config.training.steps
          ? `of ${config.training.steps.toLocaleString('en-US')} planned`
          : `${formatCount(tokens)} tokens`,
    },
    timings.length > 0
      ? {
          name: 'Time',
          value: formatDuration(seconds),
          more:
            probing > 0
              ? `${formatShare(probing / seconds)} of it asking the model for scores`
              : config.backend && `on ${config.backend}`,
        }
      : undefined,
    speed !== undefined
      ? { name: 'Speed', value: `${formatNumber(speed)} tokens/s`, more: 'median over the steps' }
      : undefined,
    memory !== undefined
      ? {
          name: 'Peak memory',
          value: formatBytes(memory),
          more: tensors !== undefined ? `${formatBytes(tensors)} of tensors` : undefined,
        }
      : undefined,
  ];
  return list.filter((fact) => fact !== undefined);
}

function lossFact(steps: RunRecord['steps'], evaluations: RunRecord['evaluations']): Fact {
  const measured = evaluations.filter(({ validationLoss }) => validationLoss !== null);
  const [first, last] = [measured[0], measured.at(-1)];
  if (first && last && first !== last) {
    const [before, after] = [first.validationLoss!, last.validationLoss!];
    const change = before === 0 ? '' : `${after <= before ? '−' : '+'}${formatShare(Math.abs(after / before - 1))}, `;
    return {
      name: `Loss on held-out text, ${first.step === 0 ? 'before' : `step ${first.step}`} → ${last.step === steps.length ? 'after' : `step ${last.step}`}`,
      value: `${formatLoss(before)} → ${formatLoss(after)}`,
      more: `${change}perplexity ${formatNumber(Math.exp(before))} → ${formatNumber(Math.exp(after))}`,
      size: 'hero',
    };
  }
  const several = steps.length > 1;
  return {
    name: several ? 'Training loss, first step → last step' : 'Training loss',
    value: several ? `${formatLoss(steps[0]!.loss)} → ${formatLoss(steps.at(-1)!.loss)}` : formatLoss(steps[0]?.loss),
    more: last ? `on held-out text ${formatLoss(last.validationLoss)}` : 'nothing was measured on held-out text',
    size: 'hero',
  };
}

/** `rank 8, alpha 16, targets q_proj v_proj`: simple options only, the rest is in the table. */
function describeOptions(options: unknown): string {
  if (typeof options !== 'object' || options === null) return '';
  return Object.entries(options)
    .map(([name, value]) => {
      if (typeof value === 'number') return `${name} ${formatNumber(value)}`;
      if (typeof value === 'string' && value.length < 30) return `${name} ${value}`;
      if (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string')) {
        return `${name} ${value.length > 7 ? value.length : value.join(' ')}`;
      }
      return undefined;
    })
    .filter((text) => text !== undefined)
    .slice(0, 4)
    .join(', ');
}

/** The last folder of a path. */
export function baseName(path: string): string {
  return path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;
}

function isNumber(value: number | null | undefined): value is number {
  return typeof value === 'number';
}

function largest(values: readonly (number | null | undefined)[]): number | undefined {
  return values.filter(isNumber).reduce<number | undefined>((most, value) => Math.max(most ?? value, value), undefined);
}
