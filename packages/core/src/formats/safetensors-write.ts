import { LftError } from '../errors/lft-error.js';
import { writeAtomic } from './atomic-write.js';
import { DTYPES, type Dtype, tensorBytes } from './dtype.js';

/** One tensor for {@link writeSafetensors}. */
export interface SafetensorsInput {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Little-endian bytes in row-major order; a function is called when its turn comes, and its result is let go after. */
  readonly data: Uint8Array | (() => Uint8Array | Promise<Uint8Array>);
}

type Sized = SafetensorsInput & { readonly bytes: number };

function refuse(path: string, tensor: string, problem: string, facts: Record<string, unknown> = {}): LftError {
  return new LftError('tensor-shape', `${path}: tensor "${tensor}" ${problem}. Nothing was written.`, {
    path,
    tensor,
    ...facts,
  });
}

function checkLength(path: string, { name, dtype, shape, bytes }: Sized, data: Uint8Array): void {
  if (data.length === bytes) return;
  const facts = { dtype, shape, expected: bytes, bytes: data.length };
  throw refuse(path, name, `has ${data.length} bytes of data, but [${shape}] of ${dtype} takes ${bytes}`, facts);
}

function checked(path: string, tensors: Iterable<SafetensorsInput>): Sized[] {
  const names = new Set<string>(['__metadata__']);
  return Array.from(tensors, (tensor) => {
    const { name, dtype, shape, data } = tensor;
    if (names.has(name)) throw refuse(path, name, name === '__metadata__' ? 'has a reserved name' : 'is given twice');
    names.add(name);
    const bytes = tensorBytes(dtype, shape);
    if (bytes === undefined) throw refuse(path, name, `cannot have the shape [${shape}] of ${dtype}`, { dtype, shape });
    const sized = { ...tensor, bytes };
    if (typeof data !== 'function') checkLength(path, sized, data);
    return sized;
  });
}

/** The reference implementation's order: the widest type first, then by name, by its UTF-8 bytes. */
function inFileOrder(tensors: Sized[]): Sized[] {
  return tensors.sort(
    (a, b) =>
      DTYPES.indexOf(b.dtype) - DTYPES.indexOf(a.dtype) || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)),
  );
}

/** The 8 bytes of the header's length, and the header, padded with spaces so that the data begins at a multiple of 8. */
function headerOf(tensors: readonly Sized[], metadata: Readonly<Record<string, string>>): Uint8Array {
  // Joined by hand: a JavaScript object would put names that look like numbers before __metadata__.
  const entries: string[] = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  let begin = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, begin + bytes] })}`);
    begin += bytes;
  }
  const text = Buffer.from(`{${entries.join(',')}}`);
  const header = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  text.copy(header, 8);
  return header;
}

/**
 * Writes a safetensors file with the bytes that the reference implementation would write. Tensors with lazy data are in memory one at a time. The
 * file appears under its name only when it is complete.
 * @throws LftError tensor-shape when data and shape disagree, output-not-writable when the disk refuses
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<SafetensorsInput>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const sorted = inFileOrder(checked(path, tensors));
  await writeAtomic(path, async (write) => {
    await write(headerOf(sorted, metadata));
    for (const tensor of sorted) {
      const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
      checkLength(path, tensor, data);
      await write(data);
    }
  });
}
