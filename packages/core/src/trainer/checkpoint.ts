import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Json } from '../contracts/json.js';
import type { Optimizer } from '../contracts/optimizer.js';
import { LftError } from '../errors/lft-error.js';
import { syncFolder, writeFileAtomic } from '../formats/atomic-write.js';
import { outputError } from '../formats/output-error.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import type { OptimizerStates } from './optimizer-state.js';
import { readTensors, writeTensors } from './tensor-file.js';

const json = z.custom<Json>();

const stateSchema = z.object({
  version: z.literal(1),
  /** Number of completed optimizer steps. */
  step: z.number().int().min(0),
  /** Units that trained in the last step. */
  active: z.array(z.string()),
  logs: z.object({ metrics: z.number(), importance: z.number(), timings: z.number() }),
  selector: json,
  adapter: json,
  optimizer: json,
});

/** What a run needs besides tensors to go on exactly where it was. Random state is not among it: generators are keyed by the step. */
export type CheckpointState = z.infer<typeof stateSchema>;

const NAME = /^step-\d{6,}$/;
/** What a process that was killed while it saved left behind. */
const LEFTOVER = /^\.(writing|replaced)-step-\d+$/;

/** The checkpoints of one run: a folder each, complete or absent. */
export class Checkpoints {
  constructor(
    private readonly folder: string,
    private readonly keep: number,
  ) {}

  pathOf(step: number): string {
    return path.join(this.folder, `step-${String(step).padStart(6, '0')}`);
  }

  /** Folders of the checkpoints, oldest first. */
  async list(): Promise<string[]> {
    const names = await readdir(this.folder).catch(() => []);
    return names
      .filter((name) => NAME.test(name))
      .sort((a, b) => Number(a.slice(5)) - Number(b.slice(5)))
      .map((name) => path.join(this.folder, name));
  }

  /**
   * Writes a checkpoint under a temporary name, synced, and renames it; then removes the oldest beyond `keep`.
   * @returns its folder
   * @throws LftError output-not-writable; earlier checkpoints are untouched then
   */
  async save(
    state: CheckpointState,
    model: AdaptedModel,
    optimizer: Optimizer,
    states: OptimizerStates,
  ): Promise<string> {
    const target = this.pathOf(state.step);
    const temporary = path.join(this.folder, `.writing-${path.basename(target)}`);
    try {
      await rm(temporary, { recursive: true, force: true });
      await mkdir(temporary, { recursive: true });
      // The others stand at their initial values.
      const made = model.parameters.filter((parameter) => parameter.made);
      const parameters = new Map(made.map(({ name, variable }) => [name, variable as tf.Tensor]));
      await writeTensors(path.join(temporary, 'parameters.safetensors'), parameters);
      await writeTensors(path.join(temporary, 'optimizer.safetensors'), optimizer.state().tensors);
      await states.saveTo(path.join(temporary, 'offload'));
      await writeFileAtomic(path.join(temporary, 'state.json'), `${JSON.stringify(state)}\n`);
      // A step that is saved again: the old folder stays until the new one has its name.
      const replaced = path.join(this.folder, `.replaced-${path.basename(target)}`);
      await rename(target, replaced).catch(() => undefined);
      await rename(temporary, target);
      await syncFolder(this.folder);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
      throw LftError.is(error) ? error : outputError(target, error);
    }
    for (const name of await readdir(this.folder)) {
      if (LEFTOVER.test(name)) await rm(path.join(this.folder, name), { recursive: true, force: true });
    }
    const all = await this.list();
    for (const old of all.slice(0, Math.max(0, all.length - this.keep)))
      await rm(old, { recursive: true, force: true });
    return target;
  }

  /**
   * Reads the newest checkpoint into the model and the optimizer.
   * @returns its state, or undefined where there is none yet
   * @throws LftError checkpoint-invalid, safetensors-invalid
   */
  async restoreNewest(
    model: AdaptedModel,
    optimizer: Optimizer,
    states: OptimizerStates,
  ): Promise<CheckpointState | undefined> {
    const folder = (await this.list()).at(-1);
    if (!folder) return undefined;
    const state = await readState(folder);
    const { tensors } = await readTensors(path.join(folder, 'parameters.safetensors'));
    for (const parameter of model.parameters) {
      const saved = tensors.get(parameter.name);
      if (!saved && !parameter.made) continue;
      if (saved?.shape.join() !== parameter.shape.join()) {
        throw new LftError(
          'checkpoint-invalid',
          `${folder}: ${parameter.name} is not in it with the shape [${parameter.shape.join(', ')}]`,
          {
            folder,
            parameter: parameter.name,
          },
        );
      }
      parameter.assign(saved as tf.Tensor);
    }
    tf.dispose([...tensors.values()]);
    const moments = await readTensors(path.join(folder, 'optimizer.safetensors'));
    optimizer.restore({ tensors: moments.tensors, json: state.optimizer });
    await states.restoreFrom(path.join(folder, 'offload'));
    return state;
  }
}

async function readState(folder: string): Promise<CheckpointState> {
  const file = path.join(folder, 'state.json');
  try {
    return stateSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (cause) {
    throw new LftError(
      'checkpoint-invalid',
      `${file} cannot be read: ${String(cause)}. Remove ${folder} to go on from the checkpoint before it.`,
      { folder },
      { cause },
    );
  }
}
