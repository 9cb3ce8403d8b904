import { TYPE, type TypeNumber } from '../node-binding.js';
import { bytesField, entryField, integerField, integersField, type Message, message } from './protobuf.js';

/** What a node of a graph gives. */
export interface Value {
  /** As the nodes of a function name it: an argument, or node:output:index. */
  readonly name: string;
  readonly dtype: TypeNumber;
}

/** Operations with one result, and what it is called. */
const RESULT = {
  AddV2: 'z',
  Sub: 'z',
  Mul: 'z',
  RealDiv: 'z',
  Neg: 'y',
  Exp: 'y',
  Sigmoid: 'y',
  Sqrt: 'y',
  Rsqrt: 'y',
  Square: 'y',
  Log: 'y',
} as const;
type Elementwise = keyof typeof RESULT;

/** AttrValue */
const attribute = {
  type: (type: TypeNumber) => integerField(6, type),
  types: (list: readonly TypeNumber[]) => bytesField(1, integersField(6, list)),
  flag: (value: boolean) => integerField(5, Number(value)),
  function: (name: string) => bytesField(10, bytesField(1, name)),
  anyShape: () => bytesField(7, integerField(3, 1)),
  /** TensorProto, with the shape [length], or a scalar. */
  tensor(type: TypeNumber, bytes: Uint8Array, length?: number) {
    const shape = length === undefined ? message() : bytesField(2, integerField(1, length));
    return bytesField(8, message(integerField(1, type), bytesField(2, shape), bytesField(4, bytes)));
  },
};

/** NodeDef */
function node(name: string, op: string, inputs: readonly string[], attributes: Record<string, Message>): Message {
  return message(
    bytesField(1, name),
    bytesField(2, op),
    ...inputs.map((input) => bytesField(3, input)),
    ...Object.entries(attributes).map(([key, value]) => entryField(5, key, value)),
  );
}

/** A function of TensorFlow's under construction: elementary operations, in f32 unless a cast says otherwise. */
export class Graph {
  private readonly nodes: Message[] = [];
  readonly inputs: readonly Value[];

  constructor(types: readonly TypeNumber[]) {
    this.inputs = types.map((dtype, i) => ({ name: `in${i}`, dtype }));
  }

  private add(op: string, inputs: readonly Value[], attributes: Record<string, Message>): string {
    const name = `n${this.nodes.length}`;
    this.nodes.push(
      node(
        name,
        op,
        inputs.map((input) => input.name),
        attributes,
      ),
    );
    return name;
  }

  /** An elementwise operation, broadcast. A number is a constant. */
  run(op: Elementwise, ...operands: readonly (Value | number)[]): Value {
    const inputs = operands.map((each) => (typeof each === 'number' ? this.constant(each) : each));
    const name = this.add(op, inputs, { T: attribute.type(TYPE.float32) });
    return { name: `${name}:${RESULT[op]}:0`, dtype: TYPE.float32 };
  }

  constant(value: number): Value {
    const bytes = new Uint8Array(Float32Array.of(value).buffer);
    const tensor = attribute.tensor(TYPE.float32, bytes);
    return {
      name: `${this.add('Const', [], { dtype: attribute.type(TYPE.float32), value: tensor })}:output:0`,
      dtype: TYPE.float32,
    };
  }

  private axis(axis: number): Value {
    const bytes = new Uint8Array(Int32Array.of(axis).buffer);
    const tensor = attribute.tensor(TYPE.int32, bytes, 1);
    return {
      name: `${this.add('Const', [], { dtype: attribute.type(TYPE.int32), value: tensor })}:output:0`,
      dtype: TYPE.int32,
    };
  }

  cast(x: Value, to: TypeNumber): Value {
    if (x.dtype === to) return x;
    const name = this.add('Cast', [x], { SrcT: attribute.type(x.dtype), DstT: attribute.type(to) });
    return { name: `${name}:y:0`, dtype: to };
  }

  wide(x: Value): Value {
    return this.cast(x, TYPE.float32);
  }

  /** Mean over an axis, which stays with length 1. */
  mean(x: Value, axis: number): Value {
    return this.reduced('Mean', x, axis);
  }

  /** Sum over an axis, which stays with length 1. */
  sum(x: Value, axis: number): Value {
    return this.reduced('Sum', x, axis);
  }

  /** The largest value of an axis without its fraction: as integers, whose maximum vectorises where that of floats does not. */
  wholeMaximum(x: Value, axis: number): Value {
    return this.cast(this.reduced('Max', this.cast(x, TYPE.int32), axis), TYPE.float32);
  }

  /** x, or a number where a > b. */
  unlessGreater(a: Value, b: Value, x: Value, otherwise: number): Value {
    return this.unless('Greater', a, b, x, otherwise);
  }

  /** x, or a number where a ≠ b. */
  unlessDifferent(a: Value, b: Value, x: Value, otherwise: number): Value {
    return this.unless('NotEqual', a, b, x, otherwise);
  }

  private unless(op: 'Greater' | 'NotEqual', a: Value, b: Value, x: Value, otherwise: number): Value {
    const condition = { name: `${this.add(op, [a, b], { T: attribute.type(TYPE.float32) })}:z:0`, dtype: x.dtype };
    const name = this.add('SelectV2', [condition, this.constant(otherwise), x], { T: attribute.type(x.dtype) });
    return { name: `${name}:output:0`, dtype: x.dtype };
  }

  private reduced(op: 'Mean' | 'Sum' | 'Max', x: Value, axis: number): Value {
    const name = this.add(op, [x, this.axis(axis)], {
      T: attribute.type(x.dtype),
      Tidx: attribute.type(TYPE.int32),
      keep_dims: attribute.flag(true),
    });
    return { name: `${name}:output:0`, dtype: x.dtype };
  }

  /** The values of an axis in the opposite order. */
  reversed(x: Value, axis: number): Value {
    const name = this.add('ReverseV2', [x, this.axis(axis)], {
      T: attribute.type(x.dtype),
      Tidx: attribute.type(TYPE.int32),
    });
    return { name: `${name}:output:0`, dtype: x.dtype };
  }

  /** −log softmax(logits)[label] of each row, and its gradient. @param logits [n, V] f32 @param labels [n] int32 */
  crossEntropy(logits: Value, labels: Value): readonly [loss: Value, gradient: Value] {
    const name = this.add('SparseSoftmaxCrossEntropyWithLogits', [logits, labels], {
      T: attribute.type(TYPE.float32),
      Tlabels: attribute.type(TYPE.int32),
    });
    return [
      { name: `${name}:loss:0`, dtype: TYPE.float32 },
      { name: `${name}:backprop:0`, dtype: TYPE.float32 },
    ];
  }

  /** FunctionDef */
  private function(name: string, outputs: readonly Value[], attributes: Record<string, Message>): Message {
    const argument = (field: number, { dtype }: Value, id: string) =>
      bytesField(field, message(bytesField(1, id), integerField(3, dtype)));
    const signature = message(
      bytesField(1, name),
      ...this.inputs.map((input) => argument(2, input, input.name)),
      ...outputs.map((output, i) => argument(3, output, `out${i}`)),
    );
    return message(
      bytesField(1, signature),
      ...this.nodes.map((each) => bytesField(3, each)),
      ...outputs.map((output, i) => bytesField(4, message(bytesField(1, `out${i}`), bytesField(2, output.name)))),
      ...Object.entries(attributes).map(([key, value]) => entryField(5, key, value)),
    );
  }

  /**
   * SavedModel: placeholders named as the inputs, and the function twice, run by TensorFlow's kernels or by XLA. The results are
   * `plain0` …, `compiled0` ….
   */
  savedModel(outputs: readonly Value[]): Message {
    const mustCompile = { _XlaMustCompile: attribute.flag(true) };
    const call = (name: string, attributes: Record<string, Message>) =>
      node(
        name,
        'PartitionedCall',
        this.inputs.map((input) => input.name),
        {
          Tin: attribute.types(this.inputs.map(({ dtype }) => dtype)),
          Tout: attribute.types(outputs.map(({ dtype }) => dtype)),
          f: attribute.function(`${name}Function`),
          ...attributes,
        },
      );
    const results = (name: string) =>
      outputs.map(({ dtype }, i) =>
        node(`${name}${i}`, 'Identity', [`${name}:${i}`], {
          T: attribute.type(dtype),
        }),
      );
    const placeholders = this.inputs.map(({ name, dtype }) =>
      node(name, 'Placeholder', [], { dtype: attribute.type(dtype), shape: attribute.anyShape() }),
    );
    const nodes = [
      ...placeholders,
      call('plain', {}),
      ...results('plain'),
      call('compiled', mustCompile),
      ...results('compiled'),
    ];
    const library = message(
      bytesField(1, this.function('plainFunction', outputs, {})),
      bytesField(1, this.function('compiledFunction', outputs, mustCompile)),
    );
    const graph = message(
      ...nodes.map((each) => bytesField(1, each)),
      bytesField(2, library),
      // A version of graphs that is older than every library here, and younger than these operations.
      bytesField(4, integerField(1, 1395)),
    );
    const meta = message(bytesField(1, bytesField(4, TAG)), bytesField(2, graph));
    return message(integerField(1, 1), bytesField(2, meta));
  }
}

/** What the graph in the saved model is found by. */
export const TAG = 'serve';
