import { TYPE, type TypeNumber } from '../node-binding.js';

/** A tensor, or what a node of a graph will give. */
export interface Value {
  readonly dtype: TypeNumber;
}

/** Types and flags of an operation. */
export type Attributes = Readonly<Record<string, TypeNumber | boolean>>;

type Elementwise = 'AddV2' | 'Sub' | 'Mul' | 'RealDiv' | 'Exp' | 'Log' | 'Sigmoid' | 'Sqrt' | 'Rsqrt' | 'Square';

/** Elementary operations in f32, that run at once or become the nodes of a graph. */
export abstract class Operations {
  /** @param results their types */
  protected abstract execute(
    op: string,
    inputs: readonly Value[],
    attributes: Attributes,
    results: readonly TypeNumber[],
  ): readonly Value[];

  protected abstract constant(values: Float32Array | Int32Array, shape: readonly number[]): Value;

  /** An elementwise operation, broadcast. A number is a constant. */
  run(op: Elementwise, ...operands: readonly (Value | number)[]): Value {
    const inputs = operands.map((each) => (typeof each === 'number' ? this.scalar(each) : each));
    return this.execute(op, inputs, { T: TYPE.float32 }, [TYPE.float32])[0]!;
  }

  private scalar(value: number): Value {
    return this.constant(Float32Array.of(value), []);
  }

  cast(x: Value, to: TypeNumber): Value {
    return x.dtype === to ? x : this.execute('Cast', [x], { SrcT: x.dtype, DstT: to }, [to])[0]!;
  }

  wide(x: Value): Value {
    return this.cast(x, TYPE.float32);
  }

  /** Mean over an axis, which stays with length 1. */
  mean(x: Value, axis: number): Value {
    return this.alongAxis('Mean', x, axis, { T: x.dtype, keep_dims: true });
  }

  /** Sum over an axis, which stays with length 1. */
  sum(x: Value, axis: number): Value {
    return this.alongAxis('Sum', x, axis, { T: x.dtype, keep_dims: true });
  }

  /** The largest value of an axis without its fraction: as integers, whose maximum vectorises where that of floats does not. */
  wholeMaximum(x: Value, axis: number): Value {
    return this.wide(this.alongAxis('Max', this.cast(x, TYPE.int32), axis, { T: TYPE.int32, keep_dims: true }));
  }

  /** The values of an axis in the opposite order. */
  reversed(x: Value, axis: number): Value {
    return this.alongAxis('ReverseV2', x, axis, { T: x.dtype });
  }

  private alongAxis(op: string, x: Value, axis: number, attributes: Attributes): Value {
    const inputs = [x, this.constant(Int32Array.of(axis), [1])];
    return this.execute(op, inputs, { ...attributes, Tidx: TYPE.int32 }, [x.dtype])[0]!;
  }

  /** x, or a number where a and b compare so. */
  unless(comparison: 'Greater' | 'NotEqual', a: Value, b: Value, x: Value, otherwise: number): Value {
    const condition = this.execute(comparison, [a, b], { T: a.dtype }, [TYPE.bool])[0]!;
    return this.execute('SelectV2', [condition, this.scalar(otherwise), x], { T: x.dtype }, [x.dtype])[0]!;
  }

  /** −log softmax(logits)[label] of each row, and its gradient. @param logits [n, V] f32 @param labels [n] int32 */
  crossEntropy(logits: Value, labels: Value): readonly [loss: Value, gradient: Value] {
    const types = { T: TYPE.float32, Tlabels: TYPE.int32 };
    const results = [TYPE.float32, TYPE.float32];
    const given = this.execute('SparseSoftmaxCrossEntropyWithLogits', [logits, labels], types, results);
    return [given[0]!, given[1]!];
  }
}
