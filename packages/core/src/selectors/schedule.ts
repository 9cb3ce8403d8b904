import type { Json } from '../contracts/json.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import { LftError } from '../errors/lft-error.js';

/** One part of a {@link schedule}. */
export interface SchedulePart {
  /** First step that no longer belongs to this part. Left out at the last part, which goes on to the end. */
  readonly until?: number;
  readonly selector: LayerSelector;
}

interface Span {
  readonly selector: LayerSelector;
  readonly start: number;
  readonly end: number;
}

/**
 * Several selectors one after the other: `schedule([{ until: 100, selector: fixed() }, { selector: lisa() }])`. To each of them its
 * part is the whole run: steps count from 0, `steps` is the length of the part, and `probe` comes once more when the part is over.
 */
export function schedule(parts: readonly SchedulePart[]): LayerSelector {
  const first = parts[0];
  if (!first) throw new LftError('selector-options', 'schedule: it has no parts; give at least one selector.');
  const { granularity } = first.selector;
  for (const [index, { selector }] of parts.entries()) {
    if (selector.granularity === granularity) continue;
    throw new LftError(
      'selector-options',
      `schedule: ${first.selector.name} works at granularity ${granularity}, part ${index} (${selector.name}) at ${selector.granularity}. All parts need the same one.`,
      { granularity, index },
    );
  }
  let previous = 0;
  for (const [index, { until }] of parts.entries()) {
    const last = index === parts.length - 1;
    if (until === undefined ? last : Number.isInteger(until) && until > previous) {
      previous = until ?? previous;
      continue;
    }
    throw new LftError(
      'selector-options',
      `schedule: until of part ${index} is ${until}; it must be a step after ${previous}${last ? ', or left out' : ''}.`,
      { index, until },
    );
  }

  const policies = new Set(parts.map(({ selector }) => selector.optimizerState ?? 'keep'));
  const [policy] = policies;
  let spans: Span[] = [];
  let current = 0;
  const at = (step: number) => spans.findIndex((span) => step < span.end);

  return {
    name: `schedule(${parts.map(({ selector }) => selector.name).join(',')})`,
    options: parts.map(({ until, selector }) => ({
      until: until ?? null,
      name: selector.name,
      options: selector.options,
    })),
    granularity,
    // Parts that disagree keep the state: nothing is lost that one of them needs.
    ...(policies.size === 1 && policy && { optimizerState: policy }),
    async setup(context) {
      spans = [];
      let start = 0;
      for (const { until = context.steps, selector } of parts) {
        const end = Math.min(until, context.steps);
        if (end > start) spans.push({ selector, start, end });
        start = Math.max(start, end);
      }
      if (start < context.steps) {
        throw new LftError(
          'selector-options',
          `schedule: the last part ends at step ${start}, and the run has ${context.steps} steps. Leave until out at the last part.`,
          { end: start, steps: context.steps },
        );
      }
      for (const [index, span] of spans.entries()) {
        await span.selector.setup({
          ...context,
          steps: span.end - span.start,
          random: (purpose, ...keys) => context.random(purpose, index, span.selector.name, ...keys),
        });
      }
    },
    async probe(step, probe) {
      const ended = spans.find((span) => span.end === step);
      await ended?.selector.probe?.(step - ended.start, probe);
      const begun = spans[at(step)];
      await begun?.selector.probe?.(step - begun.start, probe);
    },
    select(step) {
      current = at(step);
      const span = spans[current]!;
      return span.selector.select(step - span.start);
    },
    observe(event) {
      const span = spans[at(event.step)]!;
      span.selector.observe?.({
        step: event.step - span.start,
        loss: event.loss,
        gradientNorms: event.gradientNorms,
        parameterNorms: () => event.parameterNorms(),
      });
    },
    importance() {
      for (let index = current; index >= 0; index--) {
        const importance = spans[index]?.selector.importance();
        if (importance) return importance;
      }
      return undefined;
    },
    state: () => ({ current, parts: spans.map((span) => span.selector.state()) }),
    restore(state) {
      const saved = state as { current: number; parts: Json[] };
      current = saved.current;
      for (const [index, span] of spans.entries()) span.selector.restore(saved.parts[index]!);
    },
  };
}
