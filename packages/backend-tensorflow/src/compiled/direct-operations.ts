import type { Held, TypeNumber } from '../node-binding.js';
import { TYPE } from '../node-binding.js';
import type { RawCall } from '../raw-call.js';
import { type Attributes, Operations, type Value } from './operations.js';

/** Every operation runs at once, on tensors. */
export class DirectOperations extends Operations {
  constructor(private readonly call: RawCall) {
    super();
  }

  protected execute(
    op: string,
    inputs: readonly Value[],
    attributes: Attributes,
    results: readonly TypeNumber[],
  ): Held[] {
    const { call } = this;
    const list = Object.entries(attributes).map(([name, value]) =>
      typeof value === 'boolean' ? call.flag(name, value) : call.type(name, value),
    );
    return call.executeAll(op, list, inputs as readonly Held[], results.length);
  }

  protected constant(values: Float32Array | Int32Array, shape: readonly number[]): Held {
    return this.call.upload(shape, values instanceof Int32Array ? TYPE.int32 : TYPE.float32, values);
  }
}
