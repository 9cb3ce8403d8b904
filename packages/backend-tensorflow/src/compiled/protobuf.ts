/** The wire format of protocol buffers, as much as TensorFlow's messages need. A message is the bytes of its fields, joined. */
export type Message = Buffer;

export function message(...fields: readonly Message[]): Message {
  return Buffer.concat(fields);
}

/** A field of an integer, an enumeration or a flag. @param value not negative */
export function integerField(field: number, value: number): Message {
  return Buffer.from([...varint(field << 3), ...varint(value)]);
}

/** A field of text, bytes or a message. */
export function bytesField(field: number, value: string | Uint8Array): Message {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(bytes.length)]), bytes]);
}

/** A field of a list of integers. @param values not negative */
export function integersField(field: number, values: readonly number[]): Message {
  return bytesField(field, Buffer.from(values.flatMap(varint)));
}

/** An entry of a map from text to messages. */
export function entryField(field: number, key: string, value: Message): Message {
  return bytesField(field, message(bytesField(1, key), bytesField(2, value)));
}

/** Seven bits a byte, the low ones first. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) + 128);
  }
}
