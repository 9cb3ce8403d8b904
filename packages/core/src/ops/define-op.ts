import * as tf from '@tensorflow/tfjs-core';

/**
 * An operation of ours on the tensor library: a reference that runs on every backend, a gradient, and a kernel name under which a
 * backend may register a faster version.
 */
export interface Op<Inputs extends tf.NamedTensorMap, Attributes> {
  /** Name in the kernel registry, e.g. `LftRmsNorm`. */
  readonly kernelName: string;
  /** The tensors that the gradient needs, in this order, before the saved outputs. */
  readonly saveInputs: readonly (keyof Inputs & string)[];
  /** Which outputs the gradient needs. */
  readonly saveOutputs?: readonly boolean[];
  /** The reference, in plain tensor ops. Must return new tensors, never an input. */
  forward(inputs: Inputs, attributes: Attributes): tf.Tensor | tf.Tensor[];
  /** A thunk per input, so that only the gradients that somebody needs are computed. */
  backward(
    dy: tf.Tensor,
    saved: tf.Tensor[],
    attributes: Attributes,
  ): { readonly [Name in keyof Inputs]?: () => tf.Tensor };
}

/** Runs the op on the current backend: the backend's own kernel where it registered one, else the reference. */
export function runOp<Inputs extends tf.NamedTensorMap, Attributes extends object>(
  op: Op<Inputs, Attributes>,
  inputs: Inputs,
  attributes: Attributes,
): tf.Tensor[] {
  register(op);
  // The registry's attribute type knows only plain values; ours also carry frozen weights.
  const outputs = tf.engine().runKernel(op.kernelName, inputs, attributes as unknown as tf.NamedAttrMap) as
    | tf.Tensor
    | tf.Tensor[];
  return Array.isArray(outputs) ? outputs : [outputs];
}

/**
 * Runs a kernel that only some backends have, such as a gradient in one pass over memory.
 * @returns undefined where the current backend has none: the reference formula does it
 */
export function runIfFused(
  kernelName: string,
  inputs: tf.NamedTensorMap,
  attributes: object = {},
): tf.Tensor[] | undefined {
  if (!tf.getKernel(kernelName, tf.getBackend())) return undefined;
  const outputs = tf.engine().runKernel(kernelName, inputs, attributes as unknown as tf.NamedAttrMap) as
    | tf.Tensor
    | tf.Tensor[];
  return Array.isArray(outputs) ? outputs : [outputs];
}

/** Registered on first use and not on import, so that importing has no side effects. */
function register<Inputs extends tf.NamedTensorMap, Attributes>(op: Op<Inputs, Attributes>): void {
  const backendName = tf.getBackend();
  if (!tf.getKernel(op.kernelName, backendName)) {
    tf.registerKernel({
      kernelName: op.kernelName,
      backendName,
      kernelFunc: ({ inputs, attrs }) => tf.tidy(() => op.forward(inputs as Inputs, attrs as Attributes)),
    });
  }
  if (!tf.getGradient(op.kernelName)) {
    tf.registerGradient({
      kernelName: op.kernelName,
      inputsToSave: [...op.saveInputs],
      ...(op.saveOutputs ? { outputsToSave: [...op.saveOutputs] } : {}),
      gradFunc: (dy, saved, attrs) =>
        // Ops with several outputs give their result first; the others are kept for the gradient and never differentiated.
        op.backward(Array.isArray(dy) ? dy[0]! : dy, saved, attrs as Attributes) as ReturnType<tf.GradFunc>,
    });
  }
}
