import * as tf from '@tensorflow/tfjs-core';

type Rule = Omit<tf.GradConfig, 'kernelName'>;

/** Sums a gradient over the axes along which its input was broadcast. */
function unbroadcast(dy: tf.Tensor, shape: number[]): tf.Tensor {
  const axes = tf.broadcast_util.getReductionAxes(shape, dy.shape);
  return axes.length === 0 ? dy.clone() : tf.reshape(tf.sum(dy, axes), shape);
}

/** A rule for y = f(x) whose derivative is a factor on dy. */
function unary(inputs: ['x'] | [], slope: (saved: tf.Tensor) => tf.Tensor): Rule {
  const save = inputs.length > 0 ? { inputsToSave: inputs as string[] } : { outputsToSave: [true] };
  return { ...save, gradFunc: (dy, [saved]) => ({ x: () => tf.mul(dy as tf.Tensor, slope(saved!)) }) };
}

/**
 * Derivatives of the elementary kernels that models and adapters are written in. The tensor library has them too, but its Node build
 * leaves them out. A rule that is already registered (by the whole @tensorflow/tfjs, say) is left alone.
 */
const RULES: { readonly [kernelName: string]: Rule } = {
  Add: {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b]) => ({
      a: () => unbroadcast(dy as tf.Tensor, a!.shape),
      b: () => unbroadcast(dy as tf.Tensor, b!.shape),
    }),
  },
  Sub: {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b]) => ({
      a: () => unbroadcast(dy as tf.Tensor, a!.shape),
      b: () => unbroadcast(tf.neg(dy as tf.Tensor), b!.shape),
    }),
  },
  Multiply: {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy as tf.Tensor, b!), a!.shape),
      b: () => unbroadcast(tf.mul(dy as tf.Tensor, a!), b!.shape),
    }),
  },
  RealDiv: {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.div(dy as tf.Tensor, b!), a!.shape),
      b: () => unbroadcast(tf.neg(tf.div(tf.mul(dy as tf.Tensor, a!), tf.square(b!))), b!.shape),
    }),
  },
  Maximum: {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy as tf.Tensor, tf.cast(tf.greaterEqual(a!, b!), 'float32')), a!.shape),
      b: () => unbroadcast(tf.mul(dy as tf.Tensor, tf.cast(tf.less(a!, b!), 'float32')), b!.shape),
    }),
  },
  Minimum: {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b]) => ({
      a: () => unbroadcast(tf.mul(dy as tf.Tensor, tf.cast(tf.lessEqual(a!, b!), 'float32')), a!.shape),
      b: () => unbroadcast(tf.mul(dy as tf.Tensor, tf.cast(tf.greater(a!, b!), 'float32')), b!.shape),
    }),
  },
  Neg: { gradFunc: (dy) => ({ x: () => tf.neg(dy as tf.Tensor) }) },
  Exp: unary([], (y) => y.clone()),
  Log: unary(['x'], (x) => tf.div(1, x)),
  Sqrt: unary([], (y) => tf.div(0.5, y)),
  Rsqrt: unary([], (y) => tf.mul(tf.mul(y, tf.square(y)), -0.5)),
  Square: unary(['x'], (x) => tf.mul(x, 2)),
  Abs: unary(['x'], (x) => tf.sign(x)),
  Tanh: unary([], (y) => tf.sub(1, tf.square(y))),
  Sigmoid: unary([], (y) => tf.mul(y, tf.sub(1, y))),
  Relu: unary(['x'], (x) => tf.cast(tf.greater(x, 0), 'float32')),
  // d/dx erf(x) = 2/√π·e^{−x²}: the exact GELU.
  Erf: unary(['x'], (x) => tf.mul(tf.exp(tf.neg(tf.square(x))), 2 / Math.sqrt(Math.PI))),
  // elu'(x) = 1 above 0, and eˣ = y + 1 below.
  Elu: unary([], (y) => tf.minimum(tf.add(y, 1), 1)),
  LeakyRelu: {
    inputsToSave: ['x'],
    gradFunc: (dy, [x], attrs) => {
      const slope = attrs.alpha as number;
      const above = () => tf.cast(tf.greater(x!, 0), 'float32');
      return { x: () => tf.mul(dy as tf.Tensor, tf.add(tf.mul(above(), 1 - slope), slope)) };
    },
  },
  Identity: { gradFunc: (dy) => ({ x: () => tf.clone(dy as tf.Tensor) }) },
  Cast: { gradFunc: (dy) => ({ x: () => tf.clone(dy as tf.Tensor) }) },
  Reshape: {
    inputsToSave: ['x'],
    gradFunc: (dy, [x]) => ({ x: () => tf.reshape(dy as tf.Tensor, x!.shape) }),
  },
  ExpandDims: {
    inputsToSave: ['input'],
    gradFunc: (dy, [input]) => ({ input: () => tf.reshape(dy as tf.Tensor, input!.shape) }),
  },
  Transpose: {
    gradFunc: (dy, _saved, attrs) => {
      const perm = attrs.perm as unknown as number[] | undefined;
      const inverse = perm?.map((_, axis) => perm.indexOf(axis));
      return { x: () => tf.transpose(dy as tf.Tensor, inverse) };
    },
  },
  Sum: {
    inputsToSave: ['x'],
    gradFunc: (dy, [x], attrs) => {
      const axes = tf.util.parseAxisParam(attrs.axis as unknown as number | number[], x!.shape);
      const kept = x!.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
      return { x: () => tf.mul(tf.reshape(dy as tf.Tensor, kept), tf.ones(x!.shape)) };
    },
  },
  Mean: {
    inputsToSave: ['x'],
    gradFunc: (dy, [x], attrs) => {
      const axes = tf.util.parseAxisParam(attrs.axis as unknown as number | number[], x!.shape);
      const kept = x!.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
      const count = axes.reduce((product, axis) => product * x!.shape[axis]!, 1);
      return { x: () => tf.mul(tf.reshape(dy as tf.Tensor, kept), tf.fill(x!.shape, 1 / count)) };
    },
  },
  Softmax: {
    outputsToSave: [true],
    gradFunc: (dy, [y]) => ({
      logits: () => {
        const weighted = tf.mul(dy as tf.Tensor, y!);
        return tf.sub(weighted, tf.mul(tf.sum(weighted, -1, true), y!));
      },
    }),
  },
  Slice: {
    inputsToSave: ['x'],
    gradFunc: (dy, [x], attrs) => {
      // The attributes are as the caller wrote them: a number, or a list that is shorter than the rank.
      const { begin, size } = attrs as unknown as { begin: number | number[]; size: number | number[] };
      const [begins, sizes] = tf.slice_util.parseSliceParams(x!, begin, size) as [number[], number[]];
      const paddings = begins.map((b, axis) => [b, x!.shape[axis]! - b - sizes[axis]!] as [number, number]);
      return { x: () => tf.pad(dy as tf.Tensor, paddings) };
    },
  },
  Concat: {
    saveAllInputs: true,
    gradFunc: (dy, inputs, attrs) => {
      const [axis] = tf.util.parseAxisParam(attrs.axis as unknown as number, inputs[0]!.shape) as [number];
      const sizes = inputs.map((input) => input.shape[axis]!);
      const parts = tf.split(dy as tf.Tensor, sizes, axis);
      return Object.fromEntries(parts.map((part, i) => [i, () => part]));
    },
  },
  Pack: {
    saveAllInputs: true,
    gradFunc: (dy, inputs, attrs) => {
      const parts = tf.unstack(dy as tf.Tensor, attrs.axis as unknown as number);
      return Object.fromEntries(inputs.map((_, i) => [i, () => parts[i]!]));
    },
  },
  GatherV2: {
    inputsToSave: ['x', 'indices'],
    gradFunc: (dy, [x, indices], attrs) => {
      if (attrs.axis !== 0 || indices!.rank !== 1) {
        throw new Error(
          'the gradient of gather is defined for rows picked by a list of indices: use axis 0 and a 1-D index tensor',
        );
      }
      return { x: () => tf.scatterND(tf.expandDims(indices!, 1) as tf.Tensor2D, dy as tf.Tensor, x!.shape) };
    },
  },
  BatchMatMul: {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b], attrs) => {
      const { transposeA, transposeB } = attrs as unknown as { transposeA: boolean; transposeB: boolean };
      const d = dy as tf.Tensor;
      return {
        a: () => (transposeA ? tf.matMul(b!, d, transposeB, true) : tf.matMul(d, b!, false, !transposeB)),
        b: () => (transposeB ? tf.matMul(d, a!, true, transposeA) : tf.matMul(a!, d, !transposeA, false)),
      };
    },
  },
};

/** Makes the elementary kernels differentiable. Idempotent; called whenever a backend is chosen. */
export function registerElementaryGradients(): void {
  for (const [kernelName, rule] of Object.entries(RULES)) {
    if (!tf.getGradient(kernelName)) tf.registerGradient({ kernelName, ...rule });
  }
}
