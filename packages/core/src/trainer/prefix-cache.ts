import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { Example } from '../contracts/data-source.js';
import { bfloat16FromFloat32, float32FromBFloat16 } from '../formats/half-precision.js';
import type { Batch } from './batch.js';

/** Where an example's states lie in the file. */
interface Slot {
  readonly at: number;
  readonly bytes: number;
}

/** An example's states [tokens, D] computed afresh, and whether something random went into them. */
export interface PrefixResult {
  readonly states: tf.Tensor2D;
  readonly random: boolean;
}

export interface PrefixCacheOptions {
  /** The file. It loses its name as soon as it is open, so that nothing is left of it however the process ends. */
  readonly file: string;
  /** Most bytes on disk. */
  readonly limit: number;
  /** Told once why nothing (more) is kept. */
  readonly notice: (message: string) => void;
}

/**
 * What the blocks below the lowest that trains make of each example, on disk in bf16 from one epoch to the next.
 *
 * Each example passes the blocks by itself, so that its states depend on nothing else of its batch, and what was just computed is rounded
 * as what is read: whether a step finds its examples here shows in its time and not in its numbers.
 */
export class PrefixCache {
  private handle: FileHandle | undefined;
  private readonly slots = new Map<Example, Slot>();
  private end = 0;
  /** The stage that the states enter. */
  private stage = 0;
  private random = false;
  private full = false;
  private noticed = false;

  constructor(private readonly options: PrefixCacheOptions) {}

  /**
   * States that enter a stage, for a batch of these examples.
   * @param compute runs the blocks below the stage on one example
   * @returns [rows × length, D], the padding 0; undefined where caching would change what is learned
   */
  async states(
    stage: number,
    examples: readonly Example[],
    { rows, length, starts }: Pick<Batch, 'rows' | 'length' | 'starts'>,
    compute: (example: Example) => PrefixResult,
  ): Promise<tf.Tensor2D | undefined> {
    // Whatever lies below another stage may have trained since.
    if (stage !== this.stage) this.drop();
    this.stage = stage;
    const states: Float32Array[] = [];
    for (const example of examples) {
      if (this.random) return undefined;
      states.push(float32FromBFloat16((await this.read(example)) ?? (await this.computed(example, compute))));
    }
    if (this.random) return undefined;
    const width = states[0]!.length / examples[0]!.ids.length;
    const values = new Float32Array(rows * length * width);
    for (const [i, each] of states.entries()) values.set(each, starts[i]! * width);
    return tf.tensor2d(values, [rows * length, width]);
  }

  /** Forgets everything: parameters below the stage have changed. */
  drop(): void {
    this.slots.clear();
    this.end = 0;
    this.random = false;
    this.full = false;
  }

  async close(): Promise<void> {
    await this.handle?.close();
    this.handle = undefined;
    this.drop();
  }

  private async read(example: Example): Promise<Uint16Array | undefined> {
    const slot = this.slots.get(example);
    if (!slot) return undefined;
    const bytes = new Uint8Array(slot.bytes);
    try {
      const { bytesRead } = await this.handle!.read(bytes, 0, slot.bytes, slot.at);
      if (bytesRead === slot.bytes) return new Uint16Array(bytes.buffer);
    } catch {
      // Computed again, as if it had never been kept.
    }
    this.slots.delete(example);
    return undefined;
  }

  private async computed(example: Example, compute: (example: Example) => PrefixResult): Promise<Uint16Array> {
    const { states, random } = compute(example);
    const rounded = bfloat16FromFloat32(states.dataSync() as Float32Array);
    states.dispose();
    if (random) {
      this.random = true;
      this.notice(
        'something random (dropout) acts in the blocks below the lowest that trains: their activations are not cached. Give the adapter no dropout, or only the blocks that train.',
      );
    } else if (!this.full) await this.write(example, new Uint8Array(rounded.buffer));
    return rounded;
  }

  private async write(example: Example, bytes: Uint8Array): Promise<void> {
    const { file, limit } = this.options;
    if (this.end + bytes.length > limit) {
      this.full = true;
      return this.notice(
        `the cache of activations is full (prefixCache), after ${this.slots.size} examples: the others are computed in every epoch`,
      );
    }
    try {
      if (!this.handle) {
        await mkdir(path.dirname(file), { recursive: true });
        this.handle = await open(file, 'w+');
        await rm(file);
      }
      const { bytesWritten } = await this.handle.write(bytes, 0, bytes.length, this.end);
      if (bytesWritten !== bytes.length) throw new Error(`${bytesWritten} of ${bytes.length} bytes were written`);
      this.slots.set(example, { at: this.end, bytes: bytes.length });
      this.end += bytes.length;
    } catch (cause) {
      this.full = true;
      this.notice(
        `activations cannot be cached any more (${(cause as Error).message}): those of ${this.slots.size} examples are kept, the others are computed in every epoch`,
      );
    }
  }

  private notice(message: string): void {
    if (!this.noticed) this.options.notice(message);
    this.noticed = true;
  }
}
