import * as tf from '@tensorflow/tfjs-core';
import type { Dataset } from '../contracts/data-source.js';
import type { Gate } from '../contracts/delta.js';
import type { LayerUnit, UnitId } from '../contracts/layer-unit.js';
import type { Parameter } from '../contracts/parameter.js';
import type { Gates, Probe, ProbeBatch, ProbeBatchRequest, ProbeGates } from '../contracts/probe.js';
import { LftError } from '../errors/lft-error.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import { squaredNorms } from '../ops/squared-norms.js';
import { type Batch, collate, PADDING } from './batch.js';
import { DataOrder } from './data-order.js';
import { hiddenStates, summedLoss } from './forward-stages.js';
import { type GradientRequest, lossGradients } from './loss-gradients.js';
import { stageOf, wantedParameters } from './wanted-parameters.js';

/** Examples of one probe, in parts that fit in memory as a training batch does. */
class CollatedProbeBatch implements ProbeBatch {
  readonly tokens: number;
  constructor(
    readonly examples: number,
    readonly parts: readonly Batch[],
  ) {
    this.tokens = parts.reduce((sum, part) => sum + part.targets.length, 0);
  }
}

export interface EngineProbeOptions {
  readonly model: AdaptedModel;
  readonly units: readonly LayerUnit[];
  readonly data: Dataset;
  readonly seed: number;
  /** Examples per pass. */
  readonly batchSize: number;
  readonly recompute: (batch: Batch) => GradientRequest['recompute'];
  restart(): Promise<void>;
  /** Called after every pass, with their number so far in this probe call. */
  onPass(passes: number): void;
}

/** The Probe of the trainer: passes in evaluation mode over the training or validation examples. */
export class EngineProbe implements Probe {
  private readonly orders: { readonly train: DataOrder; readonly validation: DataOrder };
  private readonly sizes: { readonly train: number; readonly validation: number };
  private readonly unitById: ReadonlyMap<UnitId, LayerUnit>;
  private readonly states: tf.Tensor[] = [];
  private passes = 0;

  constructor(private readonly options: EngineProbeOptions) {
    const { train, validation } = options.data;
    const held = validation.length > 0 ? validation : train;
    this.orders = {
      train: new DataOrder(train, options.seed, 'probe-train'),
      validation: new DataOrder(held, options.seed, 'probe-validation'),
    };
    this.sizes = { train: train.length, validation: held.length };
    this.unitById = new Map(options.units.map((unit) => [unit.id, unit]));
  }

  /** Frees what this probe call made. */
  finish(): void {
    tf.dispose(this.states.splice(0));
    this.passes = 0;
  }

  batch({ size, split = 'train', index }: ProbeBatchRequest): ProbeBatch {
    const count = Math.min(size, this.sizes[split]);
    const examples = this.orders[split].slice(index * count, count);
    const parts: Batch[] = [];
    const pad = this.options.model.base.info.padTokenId ?? 0;
    for (let i = 0; i < count; i += this.options.batchSize)
      parts.push(collate(examples.slice(i, i + this.options.batchSize), pad));
    return new CollatedProbeBatch(count, parts);
  }

  private parts(batch: ProbeBatch): readonly Batch[] {
    return (batch as CollatedProbeBatch).parts;
  }

  /** The parts that have a label: the others add nothing to a loss. */
  private labelled(batch: ProbeBatch): readonly Batch[] {
    if (batch.tokens === 0) {
      throw new LftError(
        'labels-masked',
        `no token of the ${batch.examples} examples that the selector probes has a label: look at the template and at maxLength, or let it probe more examples`,
        { examples: batch.examples },
      );
    }
    return this.parts(batch).filter(({ targets }) => targets.length > 0);
  }

  private unit(id: UnitId): LayerUnit {
    const unit = this.unitById.get(id);
    if (!unit) {
      throw new LftError(
        'selector-units',
        `the selector asked about unit "${id}"; there is ${[...this.unitById.keys()].join(', ')}`,
        { id },
      );
    }
    return unit;
  }

  private siteGates(gates: ReadonlyMap<UnitId, Gate>): Map<string, Gate> {
    return new Map([...gates].flatMap(([id, gate]) => this.unit(id).sites.map((site) => [site.path, gate] as const)));
  }

  /** Lets other work of the process run between passes. */
  private async passed(): Promise<void> {
    this.passes += 1;
    this.options.onPass(this.passes);
    await new Promise((resolve) => setImmediate(resolve));
  }

  async loss(batch: ProbeBatch, { units = new Map(), blocks }: ProbeGates = {}): Promise<number> {
    const { model } = this.options;
    const pass = model.forward({ gates: this.siteGates(units) });
    let sum = 0;
    for (const part of this.labelled(batch)) {
      sum += summedLoss({ model: model.base, pass, batch: part, ...(blocks ? { blockGates: blocks } : {}) });
      await this.passed();
    }
    return sum / batch.tokens;
  }

  async gateGradients(batch: ProbeBatch, gates: Gates): Promise<{ loss: number; gradients: Map<UnitId, number> }> {
    const { model } = this.options;
    const { blocks } = model.base.info;
    const ids = [...gates.keys()];
    const scalars = ids.map((id) => tf.scalar(gates.get(id)!));
    const wanted = ids.map((id, i) => ({
      tensor: scalars[i]!,
      stages: [...new Set(this.unit(id).sites.map((site) => stageOf(site, blocks)))],
    }));
    const pass = model.forward({ gates: this.siteGates(new Map(ids.map((id, i) => [id, scalars[i]!]))) });
    const totals = ids.map(() => 0);
    let sum = 0;
    try {
      for (const part of this.labelled(batch)) {
        const result = lossGradients({
          model: model.base,
          pass,
          batch: part,
          wanted,
          recompute: this.options.recompute(part),
        });
        sum += result.loss;
        const values = tf.tidy(() => tf.stack(result.gradients).dataSync());
        tf.dispose(result.gradients);
        values.forEach((value, i) => {
          totals[i]! += value;
        });
        await this.passed();
      }
    } finally {
      tf.dispose(scalars);
    }
    return { loss: sum / batch.tokens, gradients: new Map(ids.map((id, i) => [id, totals[i]! / batch.tokens])) };
  }

  async hiddenStates(batch: ProbeBatch): Promise<tf.Tensor[]> {
    const { model } = this.options;
    const byPart: tf.Tensor2D[][] = [];
    for (const part of this.parts(batch)) {
      const states = hiddenStates({ model: model.base, pass: model.forward(), batch: part });
      byPart.push(part.segments ? withoutPadding(states, part.segments) : states);
      await this.passed();
    }
    const states = byPart[0]!.map((_, boundary) => tf.concat(byPart.map((part) => part[boundary]!)));
    tf.dispose(byPart);
    this.states.push(...states);
    return states;
  }

  async gradientNorms(batch: ProbeBatch): Promise<Map<UnitId, number>> {
    const { model, units } = this.options;
    const wanted = wantedParameters(model, model.parameters);
    let sums: tf.Tensor[] | undefined;
    for (const part of this.labelled(batch)) {
      const { gradients } = lossGradients({
        model: model.base,
        pass: model.forward(),
        batch: part,
        wanted,
        recompute: this.options.recompute(part),
      });
      const before: tf.Tensor[] | undefined = sums;
      sums = before ? before.map((sum, i) => tf.add(sum, gradients[i]!)) : gradients;
      if (before) tf.dispose([before, gradients]);
      await this.passed();
    }
    const squares = squaredNorms(sums!);
    tf.dispose(sums!);
    return unitNorms(
      units,
      new Map(model.parameters.map((parameter, i) => [parameter.name, squares[i]! / batch.tokens ** 2])),
    );
  }

  parameterNorms(): Map<UnitId, number> {
    return parameterNorms(this.options.model, this.options.units);
  }

  restart(): Promise<void> {
    return this.options.restart();
  }
}

/** The rows of real tokens. */
function withoutPadding(states: tf.Tensor2D[], segments: Int32Array): tf.Tensor2D[] {
  const real = tf.tensor1d(
    [...segments.keys()].filter((n) => segments[n] !== PADDING),
    'int32',
  );
  const rows = states.map((state) => tf.gather(state, real));
  tf.dispose([states, real]);
  return rows;
}

/** Norm per unit from the squared norms of its parameters. */
export function unitNorms(units: readonly LayerUnit[], squares: ReadonlyMap<string, number>): Map<UnitId, number> {
  return new Map(
    units.map((unit) => [
      unit.id,
      Math.sqrt(unit.parameters.reduce((sum, { name }) => sum + (squares.get(name) ?? 0), 0)),
    ]),
  );
}

export function parameterNorms(model: AdaptedModel, units: readonly LayerUnit[]): Map<UnitId, number> {
  // One by one: those that have not trained are unpacked for this alone.
  const square = (parameter: Parameter) => tf.tidy(() => squaredNorms([parameter.value()])[0]!);
  return unitNorms(units, new Map(model.parameters.map((parameter) => [parameter.name, square(parameter)])));
}
