import type { Tensor } from '@tensorflow/tfjs-core';
import type { Json } from './json.js';
import type { Parameter } from './parameter.js';

/** A parameter with its gradient of this step. */
export interface Update {
  readonly parameter: Parameter;
  /** Same shape; not disposed by the optimizer. */
  readonly gradient: Tensor;
}

/** Moves parameters along their gradients: a plugin. It sees gradients and parameters only. */
export interface Optimizer {
  /** E.g. `adamw`. */
  readonly name: string;
  readonly options: Json;
  /** Peak learning rate, before the schedule. */
  readonly learningRate: number;
  /**
   * One step on the given parameters; others keep their bits, their state and their step count. A step of the run may come in several
   * calls, each with other parameters.
   * @param learningRate scheduled rate
   */
  step(updates: readonly Update[], learningRate: number): void;
  /** Drops the state of these parameters: their next step is a first step. */
  forget(parameters: readonly Parameter[]): void;
  /** State tensors by `parameter name/state name`, and the rest as JSON; of these parameters, or of all. The tensors stay the optimizer's. */
  state(parameters?: readonly Parameter[]): { tensors: Map<string, Tensor>; json: Json };
  /** Replaces the state of the parameters that `tensors` and `json` name, and of no others. Takes ownership of the tensors. */
  restore(state: { tensors: Map<string, Tensor>; json: Json }): void;
  /** Bytes held. */
  bytes(): number;
  dispose(): void;
}
