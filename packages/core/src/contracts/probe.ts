import type { Tensor } from '@tensorflow/tfjs-core';
import type { UnitId } from './layer-unit.js';

/** A gate per unit; units that are not named have gate 1. */
export type Gates = ReadonlyMap<UnitId, number>;

/** Which examples a probe computes on. */
export interface ProbeBatchRequest {
  /** Number of examples. */
  readonly size: number;
  /** `validation` falls back to `train` when there is no validation split. Default `train`. */
  readonly split?: 'train' | 'validation';
  /** The index-th batch of an endless, shuffled pass over the split: the caller keeps count, the same index gives the same batch. */
  readonly index: number;
}

/** Examples that several passes of one probe share. Valid until the probe call ends. */
export interface ProbeBatch {
  readonly examples: number;
  /** Number of tokens with a label. */
  readonly tokens: number;
}

/** What {@link Probe.loss} computes with. */
export interface ProbeGates {
  /** Gate of each unit's delta, at the selector's granularity. */
  readonly units?: Gates;
  /** Gate of each whole block's contribution to the residual: 0 skips the block (Shapley). */
  readonly blocks?: ReadonlyMap<number, number>;
}

/**
 * What a strategy may ask of the model: passes of its own, in evaluation mode (no dropout), that change nothing. Handed to
 * {@link LayerSelector.probe}; it works on every adapter and every backend.
 */
export interface Probe {
  batch(request: ProbeBatchRequest): ProbeBatch;
  /** Mean loss per labelled token. */
  loss(batch: ProbeBatch, gates?: ProbeGates): Promise<number>;
  /** Loss and its derivative with respect to the gate of every unit in `gates`. */
  gateGradients(batch: ProbeBatch, gates: Gates): Promise<{ loss: number; gradients: Map<UnitId, number> }>;
  /** Hidden states [tokens, width] before block 0 and after every block: blocks + 1 tensors, disposed when the probe call ends. */
  hiddenStates(batch: ProbeBatch): Promise<Tensor[]>;
  /** L2 norm of the gradient of every unit's parameters. */
  gradientNorms(batch: ProbeBatch): Promise<Map<UnitId, number>>;
  /** L2 norm of every unit's parameters. */
  parameterNorms(): Map<UnitId, number>;
  /** Puts every parameter back to its initial value and drops the optimizer's state: a phased method starts again from the base model. */
  restart(): Promise<void>;
}
