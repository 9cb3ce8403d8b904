import * as tf from '@tensorflow/tfjs-core';
import { opLaws } from '../__testing__/op-laws.js';
import { useBackend } from '../backend/use-backend.js';

/** Away from 0 by at least 0.5, the sign kept: no kink and no pole within a step. */
const awayFromZero = (draw: number) => Math.fround(draw + (draw < 0 ? -0.5 : 0.5));
const positive = (draw: number) => Math.fround(Math.abs(draw) + 0.5);
/** The error function by its series, exact in f64 for |x| < 4. */
function erf(x: number): number {
  let [sum, term] = [x, x];
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const UNARY: readonly [string, (x: tf.Tensor) => tf.Tensor, (x: number) => number, ((draw: number) => number)?][] = [
  ['neg', (x) => tf.neg(x), (x) => -x],
  ['exp', (x) => tf.exp(x), Math.exp],
  ['log', (x) => tf.log(x), Math.log, positive],
  ['sqrt', (x) => tf.sqrt(x), Math.sqrt, positive],
  ['rsqrt', (x) => tf.rsqrt(x), (x) => 1 / Math.sqrt(x), positive],
  ['square', (x) => tf.square(x), (x) => x * x],
  ['abs', (x) => tf.abs(x), Math.abs, awayFromZero],
  ['tanh', (x) => tf.tanh(x), Math.tanh],
  ['sigmoid', (x) => tf.sigmoid(x), (x) => 1 / (1 + Math.exp(-x))],
  ['relu', (x) => tf.relu(x), (x) => Math.max(0, x), awayFromZero],
  ['erf', (x) => tf.erf(x), erf],
  ['elu', (x) => tf.elu(x), (x) => (x > 0 ? x : Math.expm1(x)), awayFromZero],
  ['leakyRelu', (x) => tf.leakyRelu(x, 0.1), (x) => (x > 0 ? x : 0.1 * x), awayFromZero],
  ['clone', (x) => tf.clone(x), (x) => x],
  ['cast', (x) => tf.cast(x, 'float32'), (x) => x],
  ['reshape', (x) => tf.reshape(x, [3, 2]), (x) => x],
  ['expandDims', (x) => tf.expandDims(x, 1), (x) => x],
];
for (const [name, run, formula, values] of UNARY) {
  opLaws(name, {
    inputs: { x: [2, 3] },
    ...(values ? { values } : {}),
    run: ({ x }) => run(x!),
    reference: ({ x }) => x!.map(formula),
  });
}

const BINARY: readonly [string, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor, (a: number, b: number) => number][] = [
  ['add', (a, b) => tf.add(a, b), (a, b) => a + b],
  ['sub', (a, b) => tf.sub(a, b), (a, b) => a - b],
  ['mul', (a, b) => tf.mul(a, b), (a, b) => a * b],
  ['div', (a, b) => tf.div(a, b), (a, b) => a / b],
  ['maximum', (a, b) => tf.maximum(a, b), Math.max],
  ['minimum', (a, b) => tf.minimum(a, b), Math.min],
];
/** Shapes [2, 3] with a partner that broadcasts in each way. */
const PARTNERS: readonly (readonly [string, readonly number[], (i: number) => number])[] = [
  ['the same shape', [2, 3], (i) => i],
  ['a row', [3], (i) => i % 3],
  ['a column', [2, 1], (i) => Math.floor(i / 3)],
  ['a scalar', [], () => 0],
  ['one value', [1, 1], () => 0],
];
for (const [name, run, formula] of BINARY) {
  for (const [partner, shape, at] of PARTNERS) {
    const values = name === 'div' ? awayFromZero : undefined;
    const common = values ? { values } : {};
    opLaws(`${name} with ${partner} on the right`, {
      ...common,
      inputs: { a: [2, 3], b: shape },
      run: ({ a, b }) => run(a!, b!),
      reference: ({ a, b }) => a!.map((value, i) => formula(value, b![at(i)]!)),
    });
    if (shape.length === 2 && shape[0] === 2 && shape[1] === 3) continue;
    opLaws(`${name} with ${partner} on the left`, {
      ...common,
      inputs: { a: shape, b: [2, 3] },
      run: ({ a, b }) => run(a!, b!),
      reference: ({ a, b }) => b!.map((value, i) => formula(a![at(i)]!, value)),
    });
  }
}

// No references from here on: these kernels move or sum values, and that is what the differences see.
const MOVES: readonly [string, readonly number[], (x: tf.Tensor) => tf.Tensor][] = [
  ['transpose without a permutation', [2, 3], (x) => tf.transpose(x)],
  ['transpose by a permutation that is not its own inverse', [2, 3, 4], (x) => tf.transpose(x, [1, 2, 0])],
  ['sum over all', [2, 3], (x) => tf.sum(x)],
  ['sum over the first axis', [2, 3], (x) => tf.sum(x, 0)],
  ['sum over the last axis, kept', [2, 3], (x) => tf.sum(x, -1, true)],
  ['sum over two axes', [2, 3, 2], (x) => tf.sum(x, [0, 2])],
  ['mean over all', [2, 3], (x) => tf.mean(x)],
  ['mean over a negative axis', [2, 3], (x) => tf.mean(x, -2)],
  ['softmax', [2, 3], (x) => tf.softmax(x)],
  ['slice', [3, 4], (x) => tf.slice(x, [1, 1], [2, 2])],
  ['slice to the end', [3, 4], (x) => tf.slice(x, [1, 2], [-1, -1])],
  ['slice of the first axis, by a list', [3, 4], (x) => tf.slice(x, [1], [2])],
  ['slice of the first axis, by a number', [3, 4], (x) => tf.slice(x, 1, 1)],
  ['slice without a size', [3, 4], (x) => tf.slice(x, [2])],
  ['gather with repeated indices', [4, 2], (x) => tf.tidy(() => tf.gather(x, tf.tensor1d([3, 0, 3], 'int32')))],
  ['gather of a vector', [4], (x) => tf.tidy(() => tf.gather(x, tf.tensor1d([3, 0, 3], 'int32')))],
];
for (const [name, shape, run] of MOVES) opLaws(name, { inputs: { x: shape }, run: ({ x }) => run(x!) });

for (const axis of [0, 1, -1]) {
  opLaws(`concat along axis ${axis}`, {
    inputs: { a: [2, 2], b: axis === 0 ? [1, 2] : [2, 3], c: [2, 2] },
    run: ({ a, b, c }) => tf.concat([a!, b!, c!], axis),
  });
}
opLaws('stack', { inputs: { a: [2, 2], b: [2, 2] }, run: ({ a, b }) => tf.stack([a!, b!], 1) });
opLaws('concat of a tensor with itself', { inputs: { a: [2, 2] }, run: ({ a }) => tf.concat([a!, a!]) });

for (const transposeA of [false, true]) {
  for (const transposeB of [false, true]) {
    opLaws(`matMul, transposed ${transposeA} and ${transposeB}`, {
      inputs: { a: transposeA ? [2, 4, 3] : [2, 3, 4], b: transposeB ? [2, 2, 4] : [2, 4, 2] },
      run: ({ a, b }) => tf.matMul(a!, b!, transposeA, transposeB),
    });
  }
}

test('a tensor that is used twice gets the sum of both gradients', async () => {
  await useBackend('cpu');
  const gradient = tf.tidy(
    () =>
      tf
        .grad((x) => tf.add(tf.square(x), tf.mul(x, 3)))(tf.tensor1d([2]))
        .dataSync()[0],
  );
  expect(gradient).toBe(7);
});

test('a gather whose gradient is not defined says so', async () => {
  await useBackend('cpu');
  expect(() => tf.tidy(() => tf.grad((x) => tf.gather(x, tf.tensor1d([0], 'int32'), 1))(tf.zeros([2, 2])))).toThrow(
    /axis 0 and a 1-D index/,
  );
});

test('a rule that somebody else registered is left alone', async () => {
  await useBackend('cpu');
  const before = tf.getGradient('Sigmoid');
  await useBackend('wasm');
  expect(tf.getGradient('Sigmoid')).toBe(before);
});
