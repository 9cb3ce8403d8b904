import { type FileHandle, open } from 'node:fs/promises';
import nodePath from 'node:path';
import { LftError } from '../errors/lft-error.js';
import { nearestName } from '../errors/nearest-name.js';
import type { Dtype } from './dtype.js';
import { bfloat16FromFloat32, float32FromBFloat16, float32FromFloat16 } from './half-precision.js';
import { type MapFile, MappedFile } from './mapped-file.js';
import {
  invalidFile,
  parseSafetensorsHeader,
  type SafetensorsEntry,
  type SafetensorsHeader,
} from './safetensors-header.js';

/** The format's own limit: a longer header is a damaged length. */
const MAX_HEADER_BYTES = 100_000_000;

/** Bytes asked of the system at once, and converted at once. A multiple of every value's size. */
const CHUNK_BYTES = 1 << 24;

/** Values of a chunk (any alignment of 8 bytes) as f32, for every type that is converted. */
const TO_FLOAT32: Partial<Record<Dtype, { bytes: number; convert(chunk: ArrayBuffer): Float32Array | Float64Array }>> =
  {
    F64: { bytes: 8, convert: (chunk) => new Float64Array(chunk) },
    F32: { bytes: 4, convert: (chunk) => new Float32Array(chunk) },
    F16: { bytes: 2, convert: (chunk) => float32FromFloat16(new Uint16Array(chunk)) },
    BF16: { bytes: 2, convert: (chunk) => float32FromBFloat16(new Uint16Array(chunk)) },
  };

/** Fills `target` from `position` on; a file that ends before is an error. */
async function readFully(path: string, handle: FileHandle, target: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const length = Math.min(CHUNK_BYTES, target.length - done);
    const { bytesRead } = await handle.read(target, done, length, position + done);
    if (bytesRead === 0) {
      const at = position + done;
      throw invalidFile(
        path,
        `it ends at byte ${at}, ${target.length - done} bytes early: it became shorter while it was open`,
        {
          position: at,
          missing: target.length - done,
        },
      );
    }
    done += bytesRead;
  }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const missing = code === 'ENOENT' || code === 'ENOTDIR';
    throw new LftError(
      'file-missing',
      missing
        ? `${path}: there is no such file. Check the path, or download the file.`
        : `${path}: cannot be opened (${message}). Check that you may read it.`,
      { path, cause: code },
      { cause: error },
    );
  }
}

async function readHeader(path: string, handle: FileHandle): Promise<SafetensorsHeader & { dataStart: number }> {
  const stat = await handle.stat();
  if (stat.isDirectory()) {
    throw new LftError('file-missing', `${path}: is a folder, not a safetensors file. Name a file inside it.`, {
      path,
    });
  }
  const { size } = stat;
  if (size === 0) throw invalidFile(path, 'the file is empty', { size });
  if (size < 8) throw invalidFile(path, `the file has ${size} bytes; a safetensors file has at least 8`, { size });
  const prefix = new Uint8Array(8);
  await readFully(path, handle, prefix, 0);
  if (new TextDecoder().decode(prefix) === 'version ' && size < 1024) {
    throw new LftError(
      'safetensors-invalid',
      `${path}: is a Git LFS pointer of ${size} bytes, not the file itself. Run \`git lfs pull\` in its folder.`,
      { path, size },
    );
  }
  // Above 2^53 the number is rounded, which is no matter: such a length is refused.
  const headerBytes = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  const facts = { size, headerBytes };
  if (headerBytes > size - 8) {
    throw invalidFile(
      path,
      `its header should have ${headerBytes} bytes, but the file has ${size}: it is cut off or of another format`,
      facts,
    );
  }
  if (headerBytes > MAX_HEADER_BYTES) {
    throw invalidFile(
      path,
      `its header should have ${headerBytes} bytes; the format allows ${MAX_HEADER_BYTES}`,
      facts,
    );
  }
  const text = new Uint8Array(headerBytes);
  await readFully(path, handle, text, 8);
  return { ...parseSafetensorsHeader(path, text, size - 8 - headerBytes), dataStart: 8 + headerBytes };
}

/**
 * A safetensors file that is read tensor by tensor, or by parts of one: what is not asked for stays on disk. Reads may run at the same
 * time. The file stays open until `close`.
 */
export class SafetensorsFile {
  readonly #handle: FileHandle;
  readonly #dataStart: number;
  readonly #mapped: MappedFile | undefined;

  private constructor(
    readonly path: string,
    handle: FileHandle,
    /** `__metadata__` of the header; empty when there is none. */
    readonly metadata: Readonly<Record<string, string>>,
    /** In the order of their bytes in the file. */
    readonly tensors: ReadonlyMap<string, SafetensorsEntry>,
    dataStart: number,
    map: MapFile | undefined,
  ) {
    this.#handle = handle;
    this.#dataStart = dataStart;
    this.#mapped =
      map &&
      new MappedFile(tensors.values(), dataStart, (offset, bytes) =>
        map(handle.fd, offset, bytes, nodePath.resolve(path)),
      );
  }

  /**
   * Reads the header and checks it against the file's size.
   * @param map where given, nothing is read: `readFloat32` and `readBFloat16` give the file's own memory for what needs no conversion
   * @throws LftError file-missing, or safetensors-invalid with what is wrong
   */
  static async open(path: string, map?: MapFile): Promise<SafetensorsFile> {
    const handle = await openForReading(path);
    try {
      const { metadata, tensors, dataStart } = await readHeader(path, handle);
      return new SafetensorsFile(path, handle, metadata, tensors, dataStart, map);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** @returns the bytes as they are in the file (little-endian), in a buffer of their own */
  async read(name: string): Promise<Uint8Array<ArrayBuffer>> {
    return this.readRange(name, 0, this.#entry(name).bytes);
  }

  /**
   * Part of a tensor's bytes, in a buffer of their own.
   * @param byteOffset from the tensor's first byte
   */
  async readRange(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const entry = this.#entry(name);
    const { begin, bytes } = entry;
    const whole = Number.isSafeInteger(byteOffset) && Number.isSafeInteger(byteLength);
    if (!whole || byteOffset < 0 || byteLength < 0 || byteOffset + byteLength > bytes) {
      throw new LftError(
        'tensor-shape',
        `${this.path}: tensor "${name}" has ${bytes} bytes; ${byteLength} bytes from byte ${byteOffset} on are not in it`,
        { path: this.path, tensor: name, bytes, byteOffset, byteLength },
      );
    }
    const view = this.#mapped?.view(entry);
    if (view) return view.slice(byteOffset, byteOffset + byteLength);
    const target = new Uint8Array(byteLength);
    await readFully(this.path, this.#handle, target, this.#dataStart + begin + byteOffset);
    return target;
  }

  /** The values in row-major order as f32; F64 is rounded. @throws LftError safetensors-invalid when the values are not floats */
  async readFloat32(name: string): Promise<Float32Array<ArrayBuffer>> {
    const { dtype, bytes } = this.#entry(name);
    if (dtype === 'F32') {
      const { buffer, byteOffset } = await this.#whole(name, 4);
      return new Float32Array(buffer, byteOffset, bytes / 4);
    }
    const conversion = this.#conversion(name);
    const target = new Float32Array(bytes / conversion.bytes);
    for (let at = 0; at < bytes; at += CHUNK_BYTES) {
      const chunk = await this.readRange(name, at, Math.min(CHUNK_BYTES, bytes - at));
      target.set(conversion.convert(chunk.buffer), at / conversion.bytes);
    }
    return target;
  }

  /**
   * The values in row-major order as bf16 bit patterns: BF16 as it is, other floats rounded to nearest even (F64 by way of f32).
   * @throws LftError safetensors-invalid when the values are not floats
   */
  async readBFloat16(name: string): Promise<Uint16Array<ArrayBuffer>> {
    const { dtype, bytes } = this.#entry(name);
    if (dtype === 'BF16') {
      const { buffer, byteOffset } = await this.#whole(name, 2);
      return new Uint16Array(buffer, byteOffset, bytes / 2);
    }
    const conversion = this.#conversion(name);
    const target = new Uint16Array(bytes / conversion.bytes);
    for (let at = 0; at < bytes; at += CHUNK_BYTES) {
      const chunk = await this.readRange(name, at, Math.min(CHUNK_BYTES, bytes - at));
      const values = conversion.convert(chunk.buffer);
      const floats = values instanceof Float32Array ? values : Float32Array.from(values);
      target.set(bfloat16FromFloat32(floats), at / conversion.bytes);
    }
    return target;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** The tensor's bytes, mapped where they are and lie at a multiple of the size of their values, else read. */
  async #whole(name: string, valueBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const view = this.#mapped?.view(this.#entry(name));
    return view && view.byteOffset % valueBytes === 0 ? view : this.read(name);
  }

  #entry(name: string): SafetensorsEntry {
    const entry = this.tensors.get(name);
    if (entry) return entry;
    throw unknownTensor(this.path, name, this.tensors.keys());
  }

  #conversion(name: string) {
    const { dtype } = this.#entry(name);
    const conversion = TO_FLOAT32[dtype];
    if (conversion) return conversion;
    throw new LftError(
      'safetensors-invalid',
      `${this.path}: tensor "${name}" is ${dtype}; only ${Object.keys(TO_FLOAT32).join(', ')} are read as floats. Use a copy of the model in one of these types.`,
      { path: this.path, tensor: name, dtype },
    );
  }
}

/** @param path the file or folder that was asked */
export function unknownTensor(path: string, tensor: string, names: Iterable<string>): LftError {
  const all = [...names];
  const near = nearestName(tensor, all);
  const hint =
    near === undefined ? `there are ${all.length}, the first is "${all[0] ?? ''}"` : `did you mean "${near}"?`;
  return new LftError(
    'tensor-missing',
    `${path}: there is no tensor "${tensor}"; ${all.length === 0 ? 'there are none' : hint}`,
    {
      path,
      tensor,
      nearest: near,
    },
  );
}
