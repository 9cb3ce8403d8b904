import { TYPE, type TypeNumber } from '../node-binding.js';
import { type Attributes, Operations, type Value } from './operations.js';
import { bytesField, entryField, integerField, integersField, type Message, message } from './protobuf.js';

/** A node's result as other nodes name it: an argument, or node:output:index. */
interface Node extends Value {
  readonly name: string;
}

/** What the results of operations are called. */
const RESULTS: { readonly [op: string]: readonly string[] } = {
  AddV2: ['z'],
  Sub: ['z'],
  Mul: ['z'],
  RealDiv: ['z'],
  Greater: ['z'],
  NotEqual: ['z'],
  Exp: ['y'],
  Log: ['y'],
  Sigmoid: ['y'],
  Sqrt: ['y'],
  Rsqrt: ['y'],
  Square: ['y'],
  Cast: ['y'],
  Const: ['output'],
  Mean: ['output'],
  Sum: ['output'],
  Max: ['output'],
  ReverseV2: ['output'],
  SelectV2: ['output'],
  SparseSoftmaxCrossEntropyWithLogits: ['loss', 'backprop'],
};

/** AttrValue */
const attribute = {
  type: (type: TypeNumber) => integerField(6, type),
  types: (list: readonly TypeNumber[]) => bytesField(1, integersField(6, list)),
  flag: (value: boolean) => integerField(5, Number(value)),
  function: (name: string) => bytesField(10, bytesField(1, name)),
  anyShape: () => bytesField(7, integerField(3, 1)),
  tensor(type: TypeNumber, { buffer, byteOffset, byteLength }: Float32Array | Int32Array, shape: readonly number[]) {
    const lengths = message(...shape.map((length) => bytesField(2, integerField(1, length))));
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    return bytesField(8, message(integerField(1, type), bytesField(2, lengths), bytesField(4, bytes)));
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

/** What the graph in a saved model is found by. */
export const TAG = 'serve';
/** XLA compiles a function with it, and one that it cannot compile is an error. */
const MUST_COMPILE = { _XlaMustCompile: attribute.flag(true) };

/** A function that XLA compiles, under construction. */
export class Graph extends Operations {
  private readonly nodes: Message[] = [];
  readonly inputs: readonly Node[];

  constructor(types: readonly TypeNumber[]) {
    super();
    this.inputs = types.map((dtype, i) => ({ name: `in${i}`, dtype }));
  }

  private add(op: string, inputs: readonly Value[], attributes: Record<string, Message>, types: readonly TypeNumber[]) {
    const name = `n${this.nodes.length}`;
    const names = (inputs as readonly Node[]).map((input) => input.name);
    this.nodes.push(node(name, op, names, attributes));
    return RESULTS[op]!.map((result, i): Node => ({ name: `${name}:${result}:0`, dtype: types[i]! }));
  }

  protected execute(op: string, inputs: readonly Value[], attributes: Attributes, results: readonly TypeNumber[]) {
    const encoded = Object.entries(attributes).map(([name, value]) => [
      name,
      typeof value === 'boolean' ? attribute.flag(value) : attribute.type(value),
    ]);
    return this.add(op, inputs, Object.fromEntries(encoded), results);
  }

  protected constant(values: Float32Array | Int32Array, shape: readonly number[]): Node {
    const type = values instanceof Int32Array ? TYPE.int32 : TYPE.float32;
    const attributes = { dtype: attribute.type(type), value: attribute.tensor(type, values, shape) };
    return this.add('Const', [], attributes, [type])[0]!;
  }

  /** FunctionDef */
  private function(outputs: readonly Value[]): Message {
    const argument = (field: number, { dtype }: Value, id: string) =>
      bytesField(field, message(bytesField(1, id), integerField(3, dtype)));
    const signature = message(
      bytesField(1, 'function'),
      ...this.inputs.map((input) => argument(2, input, input.name)),
      ...outputs.map((output, i) => argument(3, output, `out${i}`)),
    );
    return message(
      bytesField(1, signature),
      ...this.nodes.map((each) => bytesField(3, each)),
      ...(outputs as readonly Node[]).map(({ name }, i) => entryField(4, `out${i}`, Buffer.from(name))),
      ...Object.entries(MUST_COMPILE).map(([key, value]) => entryField(5, key, value)),
    );
  }

  /** SavedModel: placeholders named as the inputs, a call of the function, and its results `out0`, `out1` …. */
  savedModel(outputs: readonly Value[]): Message {
    const placeholders = this.inputs.map(({ name, dtype }) =>
      node(name, 'Placeholder', [], { dtype: attribute.type(dtype), shape: attribute.anyShape() }),
    );
    const names = this.inputs.map((input) => input.name);
    const call = node('call', 'PartitionedCall', names, {
      Tin: attribute.types(this.inputs.map(({ dtype }) => dtype)),
      Tout: attribute.types(outputs.map(({ dtype }) => dtype)),
      f: attribute.function('function'),
      ...MUST_COMPILE,
    });
    const results = outputs.map(({ dtype }, i) =>
      node(`out${i}`, 'Identity', [`call:${i}`], { T: attribute.type(dtype) }),
    );
    const graph = message(
      ...[...placeholders, call, ...results].map((each) => bytesField(1, each)),
      bytesField(2, bytesField(1, this.function(outputs))),
      // A version of graphs that is older than every library here, and younger than these operations.
      bytesField(4, integerField(1, 1395)),
    );
    const meta = message(bytesField(1, bytesField(4, TAG)), bytesField(2, graph));
    return message(integerField(1, 1), bytesField(2, meta));
  }
}
