import {
  adamw,
  type Importance,
  type Json,
  type LayerSelector,
  type LayerUnit,
  type Optimizer,
  type OptimizerStatePolicy,
  type Probe,
  type ProgressEvent,
  type SelectorContext,
  type StepEvent,
  type UnitId,
  type UnitSet,
} from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { parameterBits, unitBits } from './parameter-bits.js';
import { type Question, RecordingProbe } from './probe-transcript.js';

/** What happened in one step. */
export interface WitnessedStep {
  readonly step: number;
  /** The selector's state before the step, as a checkpoint would hold it. */
  readonly state: string;
  readonly questions: readonly Question[];
  readonly selected: readonly UnitId[];
  readonly event: StepEvent;
  /** After the step. */
  readonly importance: string;
}

export interface WitnessOptions {
  /** Default: the selector's own, else `keep`. */
  readonly optimizerState?: OptimizerStatePolicy;
  /** Called before every question to the model. */
  readonly beforeQuestion?: (question: string) => void;
  readonly optimizer?: Optimizer;
}

/**
 * Stands between the trainer and a selector, passes everything on, writes it down, and looks at the parameters and the optimizer
 * between the calls. Give `selector`, `optimizer`, `optimizerState` and `onProgress` to `fineTune`; afterwards `problems` says which laws were broken.
 */
export class Witness {
  readonly optimizer: Optimizer;
  readonly optimizerState: OptimizerStatePolicy;
  readonly selector: LayerSelector;
  readonly steps: WitnessedStep[] = [];
  /** What was asked after the last step, and the importance then. */
  last: { readonly questions: readonly Question[]; readonly importance: string } | undefined;
  /** Broken laws, in words. */
  readonly problems: string[] = [];
  /** Live tensors after each step, the optimizer's and the parameters' own left out: those grow as units train for the first time. */
  readonly liveTensors: number[] = [];
  context: SelectorContext | undefined;
  /** Whether the selector put the parameters back to their initial values on the way. */
  restarted = false;

  private units: readonly LayerUnit[] = [];
  private initial = '';
  private beforeStep = new Map<UnitId, string>();
  private readonly timesSelected = new Map<UnitId, number>();
  private state = '';
  private questions: readonly Question[] = [];
  private selected: readonly UnitId[] = [];

  constructor(
    private readonly watched: LayerSelector,
    private readonly options: WitnessOptions = {},
  ) {
    this.optimizer = options.optimizer ?? adamw({ learningRate: 1e-2 });
    this.optimizerState = options.optimizerState ?? watched.optimizerState ?? 'keep';
    this.selector = {
      name: watched.name,
      options: watched.options,
      granularity: watched.granularity,
      optimizerState: this.optimizerState,
      setup: (context) => this.setup(context),
      select: (step) => this.select(step),
      observe: (event) => this.observe(event),
      importance: () => watched.importance(),
      state: () => watched.state(),
      restore: (state: Json) => watched.restore(state),
      ...(watched.probe && { probe: (step: number, probe: Probe) => this.probe(step, probe) }),
    };
  }

  readonly onProgress = (event: ProgressEvent): void => {
    if (event.kind !== 'step') return;
    const made = this.units.flatMap(({ parameters }) => parameters).filter((parameter) => parameter.made).length;
    this.liveTensors.push(tf.memory().numTensors - this.optimizer.state().tensors.size - made);
  };

  private get bits(): string {
    return parameterBits(this.units.flatMap(({ parameters }) => parameters));
  }

  private untouched<T>(call: string, run: () => T): T {
    const before = this.bits;
    const result = run();
    if (this.bits !== before) this.problems.push(`${call} changed parameters`);
    return result;
  }

  private async setup(context: SelectorContext): Promise<void> {
    this.context = context;
    this.units = context.units;
    this.initial = this.bits;
    await this.watched.setup(context);
    if (this.bits !== this.initial) this.problems.push('setup changed parameters');
    this.state = JSON.stringify(this.watched.state());
  }

  private async probe(step: number, probe: Probe): Promise<void> {
    const before = this.bits;
    const recording = new RecordingProbe(probe, this.options.beforeQuestion);
    try {
      await this.watched.probe!(step, recording);
    } finally {
      this.questions = recording.questions;
      if (recording.restarted) {
        this.restarted = true;
        this.timesSelected.clear();
        if (this.bits !== this.initial) this.problems.push(`step ${step}: restart did not put the initial values back`);
      } else if (this.bits !== before) this.problems.push(`probe of step ${step} changed parameters`);
    }
    if (step === context(this).steps) {
      this.last = { questions: recording.questions, importance: importanceText(this.watched.importance()) };
    }
  }

  private select(step: number): UnitSet {
    const chosen = this.untouched(`select(${step})`, () => this.watched.select(step));
    const known = new Set(this.units.map(({ id }) => id));
    for (const id of chosen) if (!known.has(id)) this.problems.push(`step ${step}: there is no unit ${id}`);
    if (chosen.size === 0) this.problems.push(`step ${step}: no unit was chosen`);
    this.selected = [...chosen];
    for (const { id } of this.units) {
      if (chosen.has(id)) this.timesSelected.set(id, (this.timesSelected.get(id) ?? 0) + 1);
      else if (this.optimizerState === 'reset') this.timesSelected.delete(id);
    }
    this.beforeStep = unitBits(this.units);
    return chosen;
  }

  private observe(event: StepEvent): void {
    this.checkChanges(event);
    this.checkOptimizer(event.step);
    const parameterNorms = event.parameterNorms();
    const recorded = {
      ...event,
      gradientNorms: new Map(event.gradientNorms),
      parameterNorms: () => new Map(parameterNorms),
    };
    this.untouched(`observe(${event.step})`, () => this.watched.observe?.(recorded));
    const importance = this.watched.importance();
    this.checkImportance(event.step, importance);
    this.steps.push({
      step: event.step,
      state: this.state,
      questions: this.questions,
      selected: this.selected,
      event: recorded,
      importance: importanceText(importance),
    });
    this.state = JSON.stringify(this.watched.state());
    this.questions = [];
  }

  /** A unit changes exactly when it is selected. */
  private checkChanges({ step, gradientNorms }: StepEvent): void {
    const after = unitBits(this.units);
    for (const { id } of this.units) {
      const changed = after.get(id) !== this.beforeStep.get(id);
      const selected = this.selected.includes(id);
      if (changed && !selected) this.problems.push(`step ${step}: ${id} was not selected and changed`);
      // Without a gradient (LoRA's A beside a zero B) there is nothing to move along.
      if (!changed && selected && gradientNorms.get(id) !== 0) {
        this.problems.push(`step ${step}: ${id} was selected and did not change`);
      }
    }
  }

  /** AdamW counts, for each parameter by itself, the steps in which it trained. Other optimizers may keep no such count. */
  private checkOptimizer(step: number): void {
    const { steps } = this.optimizer.state().json as { steps?: Record<string, number> };
    if (!steps) return;
    for (const unit of this.units) {
      const active = this.selected.includes(unit.id);
      const held = active || this.optimizerState === 'keep';
      const expected = held ? this.timesSelected.get(unit.id) : undefined;
      for (const { name } of unit.parameters) {
        if (steps[name] === expected) continue;
        this.problems.push(`step ${step}: the optimizer counts ${steps[name]} steps of ${name}, and it is ${expected}`);
      }
    }
  }

  private checkImportance(step: number, importance: Importance | undefined): void {
    if (!importance) return;
    const known = new Set(this.units.map(({ id }) => id));
    for (const [id, score] of importance.scores) {
      if (importance.granularity === this.watched.granularity && !known.has(id)) {
        this.problems.push(`step ${step}: a score for ${id}, which is no unit`);
      }
      if (!Number.isFinite(score)) this.problems.push(`step ${step}: the score of ${id} is ${score}`);
    }
  }
}

function context(witness: Witness): SelectorContext {
  return witness.context!;
}

/** An importance as text, for comparisons to the last bit. */
export function importanceText(importance: Importance | undefined): string {
  if (!importance) return 'none';
  return JSON.stringify([importance.method, importance.granularity, [...importance.scores]]);
}
