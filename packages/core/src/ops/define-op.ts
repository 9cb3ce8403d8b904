import * as tf from '@tensorflow/tfjs-core';
import { type InputGradient, record, recordedInputs, unrecorded, view } from '../autodiff/tape.js';

/** Whether the gradient of this input may be asked for. */
type Wanted<Inputs> = (input: keyof Inputs & string) => boolean;

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
  /** Of what is saved, in this order, what the gradients of the `wanted` inputs need; all of it, unless said. The rest is undefined in `saved`. */
  needs?(wanted: Wanted<Inputs>): readonly boolean[];
  /** The reference, in plain tensor ops. Must return new tensors, never an input. */
  forward(inputs: Inputs, attributes: Attributes): tf.Tensor | tf.Tensor[];
  /**
   * A thunk per input, so that only the gradients that somebody needs are computed.
   * @param wanted tells the inputs whose thunks may be called
   */
  backward(
    dy: tf.Tensor,
    saved: tf.Tensor[],
    attributes: Attributes,
    wanted: Wanted<Inputs>,
  ): { readonly [Name in keyof Inputs]?: InputGradient };
}

/**
 * Runs the op on the current backend: the backend's own kernel where it registered one, else the reference. It is put on the tape here and not
 * by the tensor library, which would save copies, save what no gradient needs, and make zeros for the outputs that are not differentiated.
 */
export function runOp<Inputs extends tf.NamedTensorMap, Attributes extends object>(
  op: Op<Inputs, Attributes>,
  inputs: Inputs,
  attributes: Attributes,
): tf.Tensor[] {
  register(op);
  const { kernelName } = op;
  const recorded = recordedInputs(inputs);
  if (!recorded) return runKernel(kernelName, inputs, attributes);
  const outputs = unrecorded(() => runKernel(kernelName, inputs, attributes));
  if (recorded.size === 0) return outputs;
  const wanted = (name: string) => recorded.has(name);
  const sources = [...op.saveInputs.map((name) => inputs[name]!), ...outputs.filter((_, i) => op.saveOutputs?.[i])];
  const needed = op.needs?.(wanted);
  const saved = sources.map((x, i) => (needed && !needed[i] ? undefined : tf.keep(view(x))));
  const { gradFunc } = tf.getGradient(kernelName) as unknown as { gradFunc: OpGradient };
  record({ kernelName, inputs, outputs, saved, gradient: ([dy]) => gradFunc(dy!, saved, attributes, wanted) });
  return outputs;
}

/** The registry's attribute type knows only plain values; ours also carry frozen weights. */
function runKernel(kernelName: string, inputs: tf.NamedTensorMap, attributes: object): tf.Tensor[] {
  const outputs = tf.engine().runKernel(kernelName, inputs, attributes as unknown as tf.NamedAttrMap) as
    | tf.Tensor
    | tf.Tensor[];
  return Array.isArray(outputs) ? outputs : [outputs];
}

/** Whether the current backend has such a kernel. */
export const hasKernel = (kernelName: string): boolean => tf.getKernel(kernelName, tf.getBackend()) !== undefined;

/**
 * Runs a kernel that only some backends have, such as a gradient in one pass over memory.
 * @returns undefined where the current backend has none: the reference formula does it
 */
export function runIfFused(
  kernelName: string,
  inputs: tf.NamedTensorMap,
  attributes: object = {},
): tf.Tensor[] | undefined {
  return hasKernel(kernelName) ? runKernel(kernelName, inputs, attributes) : undefined;
}

/**
 * The same for a gradient with the sum so far as one more input, to which a kernel may add in its memory.
 * @returns the sum, if its first output lies there
 */
export function runOnto(
  sum: tf.Tensor | undefined,
  kernelName: string,
  inputs: tf.NamedTensorMap,
  attributes: object = {},
): tf.Tensor[] | undefined {
  const outputs = runIfFused(kernelName, { ...inputs, ...(sum && { sum }) }, attributes);
  if (!sum || outputs?.[0]?.dataId !== sum.dataId) return outputs;
  return [sum, ...outputs.slice(1)];
}

/** An op's gradient as it is registered. On a tape of the tensor library's own, everything is saved and nothing says what is wanted. */
type OpGradient = (
  dy: tf.Tensor | tf.Tensor[],
  saved: readonly (tf.Tensor | undefined)[],
  attributes: object,
  wanted?: (input: string) => boolean,
) => { readonly [input: string]: InputGradient };

function gradientOf<Inputs extends tf.NamedTensorMap, Attributes>(op: Op<Inputs, Attributes>): OpGradient {
  return (dy, saved, attributes, wanted = () => true) => {
    // Ops with several outputs give their result first; the others are kept for the gradient and never differentiated.
    const first = Array.isArray(dy) ? dy[0]! : dy;
    return op.backward(first, saved as tf.Tensor[], attributes as Attributes, wanted) as ReturnType<OpGradient>;
  };
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
      gradFunc: gradientOf(op) as tf.GradFunc,
    });
  }
}
