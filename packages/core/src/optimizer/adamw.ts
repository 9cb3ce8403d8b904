import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Json } from '../contracts/json.js';
import type { Optimizer, Update } from '../contracts/optimizer.js';
import type { Parameter } from '../contracts/parameter.js';
import { parseOptions } from '../errors/parse-options.js';
import { type AdamWSlot, adamwStep } from '../ops/adamw-step.js';
import { holdBf16 } from '../ops/hold-bf16.js';
import { keyedSeed } from '../random/keyed-random.js';

function isPattern(text: string): boolean {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}

const groupSchema = z.object({
  match: z
    .string()
    .refine(isPattern, 'is not a regular expression')
    .describe('regular expression on parameter names; the first group that matches counts'),
  weightDecay: z.number().min(0).optional(),
  learningRateFactor: z.number().positive().optional().describe('times the scheduled rate'),
});

export const adamwOptions = z.object({
  learningRate: z.number().positive().default(2e-4).describe('peak learning rate'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('decay of the first moment'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('decay of the second moment'),
  epsilon: z.number().min(0).default(1e-8).describe('added to the root of the second moment'),
  weightDecay: z.number().min(0).default(0).describe('decoupled decay'),
  variant: z
    .enum(['torch', 'hf_legacy'])
    .default('torch')
    .describe('torch: decay first, epsilon after the bias correction; hf_legacy: as in old transformers and GaLore'),
  groups: z.array(groupSchema).default([]).describe('parameters with a decay or rate of their own'),
});

export type AdamWOptions = z.input<typeof adamwOptions>;

interface Moments {
  readonly m: tf.Variable;
  readonly v: tf.Variable;
  /** Of a value, in bytes. */
  width: number;
  step: number;
}

/** AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it. The step count, and so the bias correction, is each parameter's own. */
class AdamW implements Optimizer {
  readonly name = 'adamw';
  readonly options: Json;
  readonly learningRate: number;
  private readonly moments = new Map<string, Moments>();
  private readonly groups: readonly {
    match: RegExp;
    weightDecay?: number | undefined;
    learningRateFactor?: number | undefined;
  }[];

  constructor(private readonly hyper: z.output<typeof adamwOptions>) {
    this.options = JSON.parse(JSON.stringify(hyper)) as Json;
    this.learningRate = hyper.learningRate;
    this.groups = hyper.groups.map((group) => ({ ...group, match: new RegExp(group.match) }));
  }

  step(updates: readonly Update[], learningRate: number): void {
    const slots = updates.map(({ parameter, gradient }): AdamWSlot => {
      const moments = this.momentsOf(parameter);
      moments.step += 1;
      const group = this.groups.find(({ match }) => match.test(parameter.name));
      return {
        parameter: parameter.variable,
        gradient,
        m: moments.m,
        v: moments.v,
        step: moments.step,
        roundingSeed: parameter.format === 'bf16' ? keyedSeed(moments.step, 'round', parameter.name) : undefined,
        learningRate: learningRate * (group?.learningRateFactor ?? 1),
        weightDecay: group?.weightDecay ?? this.hyper.weightDecay,
      };
    });
    adamwStep(slots, this.hyper);
  }

  private momentsOf(parameter: Parameter): Moments {
    let moments = this.moments.get(parameter.name);
    if (!moments) {
      const { shape, format } = parameter;
      const zeros = () => tf.tidy(() => tf.variable(format === 'bf16' ? holdBf16(shape) : tf.zeros([...shape]), false));
      moments = { m: zeros(), v: zeros(), width: 4, step: 0 };
      this.moments.set(parameter.name, moments);
    }
    moments.width = parameter.format === 'bf16' ? 2 : 4;
    return moments;
  }

  private drop(name: string): void {
    const moments = this.moments.get(name);
    if (moments) tf.dispose([moments.m, moments.v]);
    this.moments.delete(name);
  }

  forget(parameters: readonly Parameter[]): void {
    for (const { name } of parameters) this.drop(name);
  }

  state(parameters?: readonly Parameter[]) {
    const names = parameters ? parameters.map(({ name }) => name) : [...this.moments.keys()];
    const tensors = new Map<string, tf.Tensor>();
    const steps: Record<string, number> = {};
    for (const name of names.sort()) {
      const moments = this.moments.get(name);
      if (!moments) continue;
      tensors.set(`${name}/m`, moments.m);
      tensors.set(`${name}/v`, moments.v);
      steps[name] = moments.step;
    }
    return { tensors, json: { steps } };
  }

  restore({ tensors, json }: { tensors: Map<string, tf.Tensor>; json: Json }): void {
    const { steps } = z.object({ steps: z.record(z.string(), z.number().int().positive()) }).parse(json);
    for (const [name, step] of Object.entries(steps)) {
      this.drop(name);
      const take = (key: string) => tf.tidy(() => tf.variable(tensors.get(`${name}/${key}`)!, false));
      this.moments.set(name, { m: take('m'), v: take('v'), width: 4, step });
    }
    tf.dispose([...tensors.values()]);
  }

  bytes(): number {
    return [...this.moments.values()].reduce((sum, { m, v, width }) => sum + width * (m.size + v.size), 0);
  }

  dispose(): void {
    for (const name of [...this.moments.keys()]) this.drop(name);
  }
}

/** @throws LftError options-invalid */
export function adamw(options: AdamWOptions = {}): Optimizer {
  return new AdamW(parseOptions('adamw', adamwOptions, options));
}
