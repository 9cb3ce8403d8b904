import * as tf from '@tensorflow/tfjs-core';
import { accumulate } from '../ops/accumulate.js';
import { dependsOn, freeSaved, recordTape, type TapeNode, view } from './tape.js';

/**
 * The value of `f`, and its gradients by `take`. As the tensor library's own, but what the backward has passed is freed at once: the tape's saved
 * tensors and the gradients between its operations, which else all live to the end.
 * @param sources what to differentiate with respect to
 * @param dy      gradient of the value, in its shape; stays the caller's
 * @param take    gets the gradient of each source that the value depends on, and owns it, as soon as it is whole: from the source that is
 *                used last to the first. No operation that is still to come reads the source.
 */
export function differentiate(
  f: () => tf.Tensor,
  sources: readonly tf.Tensor[],
  dy: tf.Tensor,
  take: (index: number, gradient: tf.Tensor) => void,
): tf.Tensor {
  const { value, tape } = recordTape(f, sources);
  try {
    backward(tape, value, sources, dy, take);
    return value;
  } finally {
    freeSaved(tape);
  }
}

function backward(
  tape: readonly TapeNode[],
  value: tf.Tensor,
  sources: readonly tf.Tensor[],
  dy: tf.Tensor,
  take: (index: number, gradient: tf.Tensor) => void,
): void {
  const indexOf = new Map(sources.map(({ id }, i) => [id, i]));
  /** Tensors that depend on a source, by id. */
  const dependent = new Set(indexOf.keys());
  /** Sources that no earlier node of the tape uses, by that node: their gradients are whole when it is done. */
  const firstUses = new Map<TapeNode, number[]>();
  const seen = new Set<number>();
  const passed: TapeNode[] = [];
  for (const node of tape) {
    if (!dependsOn(dependent, node)) {
      freeSaved([node]);
      continue;
    }
    passed.push(node);
    for (const { id } of node.outputs) dependent.add(id);
    for (const { id } of Object.values(node.inputs)) {
      const index = indexOf.get(id);
      if (index === undefined || seen.has(id)) continue;
      seen.add(id);
      firstUses.set(node, [...(firstUses.get(node) ?? []), index]);
    }
  }
  const gradients = new Map<number, tf.Tensor>([[value.id, dy]]);
  for (const node of passed.reverse()) {
    const dys = node.outputs.map(({ id }) => gradients.get(id) ?? null);
    if (dys.some((each) => each !== null)) {
      // The caller's dy is not ours to add to.
      const sumOf = (id: number) => (gradients.get(id) === dy ? undefined : gradients.get(id));
      for (const [name, dx] of inputGradients(node, dys, dependent, sumOf)) {
        const { id } = node.inputs[name]!;
        const before = gradients.get(id);
        gradients.set(id, before ? accumulate(before, dx) : dx);
      }
      for (const { id } of node.outputs) {
        const done = gradients.get(id);
        if (done && done !== dy && !indexOf.has(id)) {
          done.dispose();
          gradients.delete(id);
        }
      }
    }
    freeSaved([node]);
    for (const index of firstUses.get(node) ?? []) {
      const { id } = sources[index]!;
      const whole = gradients.get(id);
      if (!whole) continue;
      gradients.delete(id);
      take(index, whole);
    }
  }
}

/** Gradients of a node's inputs that depend on a source, but for those that were added to the sum so far. Each is a tensor of its own. */
function inputGradients(
  node: TapeNode,
  dys: (tf.Tensor | null)[],
  dependent: ReadonlySet<number>,
  sumOf: (id: number) => tf.Tensor | undefined,
): [string, tf.Tensor][] {
  const { gradient, kernelName, inputs } = node;
  if (!gradient) throw new Error(`there is no gradient of ${kernelName}: a trained tensor must not pass through it`);
  const parts: [string, tf.Tensor][] = [];
  tf.tidy(() => {
    const thunks = gradient(dys);
    for (const [name, input] of Object.entries(inputs)) {
      if (!dependent.has(input.id)) continue;
      const thunk = thunks[name];
      if (!thunk) throw new Error(`the gradient of ${kernelName} has no part for its input ${name}`);
      const sum = sumOf(input.id);
      const dx = thunk(sum);
      if (dx === sum) continue;
      if (!tf.util.arraysEqual(dx.shape, input.shape)) {
        throw new Error(
          `the gradient of ${kernelName} for its input ${name} is [${dx.shape}], and the input [${input.shape}]`,
        );
      }
      parts.push([name, dys.includes(dx) || parts.some(([, other]) => other === dx) ? view(dx) : dx]);
    }
    return parts.map(([, dx]) => dx);
  });
  return parts;
}
