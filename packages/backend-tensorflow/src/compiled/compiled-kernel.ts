import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Held, nodeBackend, type TypeNumber } from '../node-binding.js';
import type { RawCall } from '../raw-call.js';
import { DirectOperations } from './direct-operations.js';
import { Graph, TAG } from './graph.js';
import type { Operations, Value } from './operations.js';

/** Fewer values than these are not worth compiling for: about 30 ms a shape. */
const WORTH_COMPILING = 32 * 1024;

/** Gives the results of elementary operations. Every result has the rows of the inputs. */
export type Build = (operations: Operations, ...inputs: readonly Value[]) => readonly Value[];

/**
 * A kernel of elementary operations that XLA makes one pass over memory of. It works row by row: XLA compiles for one shape, so rows are
 * padded to one of eight numbers in each power of two, and however the lengths of batches vary few shapes are compiled. For small tensors
 * the operations run one by one; on a card too, since graphs take and give tensors in the memory of the CPU.
 */
export class CompiledKernel {
  /** By the types of the inputs. */
  private readonly loaded = new Map<string, LoadedGraph>();

  constructor(private readonly build: Build) {}

  /**
   * @param rows  inputs with one row, along the first axis, for each row of the results
   * @param whole other inputs, after those
   * @param compile whether it pays; by itself where there are many values
   */
  run(
    call: RawCall,
    rows: readonly Held[],
    whole: readonly Held[] = [],
    compile = worthCompiling(rows[0]!.shape),
  ): Held[] {
    if (!compile) return this.build(new DirectOperations(call), ...rows, ...whole) as Held[];
    const count = rows[0]!.shape[0]!;
    const padded = paddedRows(count);
    const inputs = [...rows.map((each) => call.padded(each, 0, padded)), ...whole];
    return this.graph(inputs.map(({ dtype }) => dtype))
      .run(call, inputs)
      .map((each) => call.slice(each, 0, 0, count));
  }

  private graph(types: TypeNumber[]): LoadedGraph {
    const key = types.join();
    let loaded = this.loaded.get(key);
    if (!loaded) {
      loaded = new LoadedGraph(types, this.build);
      this.loaded.set(key, loaded);
    }
    return loaded;
  }
}

export function worthCompiling(shape: readonly number[]): boolean {
  if (nodeBackend().binding.isUsingGpuDevice()) return false;
  return shape.reduce((product, size) => product * size, 1) >= WORTH_COMPILING;
}

/** The next multiple of an eighth of the power of two below. */
export function paddedRows(rows: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(rows)) - 3);
  return Math.ceil(rows / step) * step;
}

class LoadedGraph {
  private readonly model: number;
  private readonly inputs: string;
  private readonly outputs: string;

  constructor(types: readonly TypeNumber[], build: Build) {
    const graph = new Graph(types);
    const outputs = build(graph, ...graph.inputs);
    // The binding loads graphs from a folder only.
    const folder = mkdtempSync(path.join(tmpdir(), 'lft-graph-'));
    try {
      writeFileSync(path.join(folder, 'saved_model.pb'), graph.savedModel(outputs));
      this.model = nodeBackend().binding.loadSavedModel(folder, TAG);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    this.inputs = graph.inputs.map(({ name }) => `${name}:0`).join();
    this.outputs = outputs.map((_, i) => `out${i}:0`).join();
  }

  run(call: RawCall, inputs: readonly Held[]): Held[] {
    const ids = inputs.map(({ id }) => id);
    return nodeBackend()
      .binding.runSavedModel(this.model, ids, this.inputs, this.outputs)
      .map((each) => call.own(each));
  }
}
