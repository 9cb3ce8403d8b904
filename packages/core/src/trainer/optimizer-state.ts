import { cp, mkdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Json } from '../contracts/json.js';
import type { OptimizerStatePolicy } from '../contracts/layer-selector.js';
import type { LayerUnit, UnitSet } from '../contracts/layer-unit.js';
import type { Optimizer } from '../contracts/optimizer.js';
import { readTensors, writeTensors } from './tensor-file.js';

/**
 * What becomes of the optimizer's state when units are switched on and off: dropped (`reset`), left in memory (`keep`), or written to a
 * folder until the unit trains again (`offload`).
 */
export class OptimizerStates {
  constructor(
    private readonly optimizer: Optimizer,
    private readonly policy: OptimizerStatePolicy,
    private readonly units: readonly LayerUnit[],
    /** Where offloaded state lies. */
    private readonly folder: string,
  ) {}

  private file(unit: LayerUnit): string {
    return path.join(this.folder, `unit-${String(this.units.indexOf(unit)).padStart(4, '0')}.safetensors`);
  }

  async switch(before: UnitSet, after: UnitSet): Promise<void> {
    if (this.policy === 'keep') return;
    for (const unit of this.units) {
      if (before.has(unit.id) && !after.has(unit.id)) await this.leave(unit);
      if (!before.has(unit.id) && after.has(unit.id) && this.policy === 'offload') await this.enter(unit);
    }
  }

  private async leave(unit: LayerUnit): Promise<void> {
    if (this.policy === 'offload') {
      const { tensors, json } = this.optimizer.state(unit.parameters);
      if (tensors.size > 0) {
        await mkdir(this.folder, { recursive: true });
        await writeTensors(this.file(unit), tensors, { state: JSON.stringify(json) });
      }
    }
    this.optimizer.forget(unit.parameters);
  }

  private async enter(unit: LayerUnit): Promise<void> {
    const file = this.file(unit);
    if (!(await exists(file))) return;
    const { tensors, metadata } = await readTensors(file);
    this.optimizer.restore({ tensors, json: JSON.parse(metadata.state!) as Json });
    await rm(file);
  }

  /** Drops everything, offloaded state too. */
  async clear(): Promise<void> {
    this.optimizer.forget(this.units.flatMap((unit) => unit.parameters));
    await this.removeOffloaded();
  }

  async removeOffloaded(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Copies offloaded state into a checkpoint. */
  async saveTo(folder: string): Promise<void> {
    if (await exists(this.folder)) await cp(this.folder, folder, { recursive: true });
  }

  /** Puts back the offloaded state of a checkpoint, and nothing else. */
  async restoreFrom(folder: string): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
    if (await exists(folder)) await cp(folder, this.folder, { recursive: true });
  }
}

function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
