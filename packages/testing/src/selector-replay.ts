import type { Json, LayerSelector, SelectorContext } from '@lft/core';
import { ReplayedProbe } from './probe-transcript.js';
import { importanceText, type Witness, type WitnessedStep } from './witness.js';

/**
 * Takes a fresh selector through a recorded run: the model's answers and the steps' events are the recorded ones, so it has to ask the
 * same questions, make the same choices and give the same importance. Needs no model.
 * @param from first step; the selector is restored to the state that was recorded before it
 * @returns what differs, in words
 */
export async function replay(
  selector: LayerSelector,
  recorded: Witness,
  { from, context = recorded.context! }: { readonly from?: number; readonly context?: SelectorContext } = {},
): Promise<string[]> {
  const differences: string[] = [];
  try {
    await selector.setup(context);
    if (from !== undefined) selector.restore(JSON.parse(recorded.steps[from]!.state) as Json);
    for (const step of recorded.steps.slice(from ?? 0)) await replayStep(selector, step, differences);
    if (recorded.last) {
      await probed(selector, context.steps, recorded.last.questions);
      compare(
        `importance after the last step`,
        recorded.last.importance,
        importanceText(selector.importance()),
        differences,
      );
    }
  } catch (error) {
    differences.push(String(error));
  }
  return differences;
}

async function replayStep(selector: LayerSelector, recorded: WitnessedStep, differences: string[]): Promise<void> {
  const { step, questions, selected, event, importance } = recorded;
  await probed(selector, step, questions);
  compare(`choice of step ${step}`, selected.join(), [...selector.select(step)].join(), differences);
  selector.observe?.(event);
  compare(`importance after step ${step}`, importance, importanceText(selector.importance()), differences);
}

async function probed(selector: LayerSelector, step: number, questions: WitnessedStep['questions']): Promise<void> {
  if (!selector.probe) return;
  const probe = new ReplayedProbe(step, questions);
  await selector.probe(step, probe);
  probe.finish();
}

function compare(what: string, recorded: string, now: string, differences: string[]): void {
  if (recorded !== now) differences.push(`${what}: ${now}, and in the recorded run ${recorded}`);
}
