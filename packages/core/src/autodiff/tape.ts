import * as tf from '@tensorflow/tfjs-core';

/**
 * The gradient of an input.
 * @param sum of the parts from operations that were passed before, if there are any. Backends may add to it in its memory: then it is returned.
 *   Else the part alone is, as by the tensor library's gradients, which know no sums.
 */
export type InputGradient = (sum?: tf.Tensor) => tf.Tensor;

/** What the tensor library's engine records of an operation. Not in its public types. */
export interface TapeNode {
  readonly id: number;
  readonly kernelName: string;
  readonly inputs: tf.NamedTensorMap;
  readonly outputs: readonly tf.Tensor[];
  readonly saved: readonly (tf.Tensor | undefined)[] | null;
  readonly gradient?: (dys: (tf.Tensor | null)[]) => { readonly [input: string]: InputGradient };
}

/** The parts of the engine that record. */
interface Recorder {
  readonly backend: tf.KernelBackend;
  readonly state: {
    activeTape: TapeNode[] | null;
    gradientDepth: number;
    kernelDepth: number;
    nextTapeNodeId: number;
  };
  startTape(): void;
  endTape(): void;
  makeTensorFromTensorInfo(info: tf.TensorInfo): tf.Tensor;
}
const recorder = () => tf.engine() as unknown as Recorder;

/** The tensors of an open tape that depend on a source, by id; nodes up to `read` have been looked at. */
interface Dependents {
  readonly ids: Set<number>;
  read: number;
}
let dependents: Dependents | undefined;

/** The value of `f` and what was recorded of it. The caller frees what the nodes saved. */
export function recordTape(
  f: () => tf.Tensor,
  sources: readonly tf.Tensor[],
): { readonly value: tf.Tensor; readonly tape: readonly TapeNode[] } {
  const engine = recorder();
  if (engine.state.gradientDepth > 0) throw new Error('a gradient of a gradient is not supported');
  engine.startTape();
  dependents = { ids: new Set(sources.map(({ id }) => id)), read: 0 };
  try {
    const value = tf.tidy(f);
    return { value, tape: engine.state.activeTape ?? [] };
  } catch (error) {
    freeSaved(engine.state.activeTape ?? []);
    throw error;
  } finally {
    dependents = undefined;
    engine.state.activeTape = null;
    engine.endTape();
  }
}

export function freeSaved(nodes: readonly TapeNode[]): void {
  for (const { saved } of nodes) for (const tensor of saved ?? []) tensor?.dispose();
}

/**
 * The names of the inputs whose gradients an operation that runs now may be asked for: those that depend on a source.
 * @returns undefined when nothing is recorded
 */
export function recordedInputs(inputs: tf.NamedTensorMap): ReadonlySet<string> | undefined {
  const { activeTape, gradientDepth, kernelDepth } = recorder().state;
  if (!activeTape || gradientDepth === 0 || kernelDepth > 0) return undefined;
  const names = Object.keys(inputs);
  // A tape of the tensor library's own: it doesn't tell its sources.
  if (!dependents) return new Set(names);
  const { ids } = dependents;
  for (; dependents.read < activeTape.length; dependents.read++) {
    const node = activeTape[dependents.read]!;
    if (dependsOn(ids, node)) for (const { id } of node.outputs) ids.add(id);
  }
  return new Set(names.filter((name) => ids.has(inputs[name]!.id)));
}

export function dependsOn(ids: ReadonlySet<number>, { inputs }: TapeNode): boolean {
  for (const name in inputs) if (ids.has(inputs[name]!.id)) return true;
  return false;
}

/** Runs operations that the tape does not see. */
export function unrecorded<Result>(run: () => Result): Result {
  const { state } = recorder();
  state.kernelDepth++;
  try {
    return run();
  } finally {
    state.kernelDepth--;
  }
}

/** Puts an operation on the open tape. */
export function record(node: Omit<TapeNode, 'id'>): void {
  const { state } = recorder();
  state.activeTape!.push({ id: state.nextTapeNodeId++, ...node });
}

/** One more tensor with x's values, in the same memory. As `tf.clone`, which on wasm copies, and is an operation of its own. */
export function view<T extends tf.Tensor>(x: T): T {
  const engine = recorder();
  engine.backend.incRef(x.dataId);
  return engine.makeTensorFromTensorInfo({ dataId: x.dataId, shape: x.shape, dtype: x.dtype }) as T;
}
