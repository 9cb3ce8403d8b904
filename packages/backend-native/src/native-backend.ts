import { type BackendCapabilities, float32FromBFloat16 } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import type { Addon, Pointer, Values } from './addon.js';

/** How float32 values lie in memory: as they are, or rounded to bf16. */
export type Format = 'f32' | 'bf16';

/** Memory with room behind the values that are in it. Tensors that grew from each other lie in it from its beginning on. */
interface Room {
  /** In values. */
  readonly capacity: number;
  /** The size of the longest. */
  used: number;
  users: number;
}

/** A tensor's memory. Several tensors may share it (reshaped views). */
interface Block {
  pointer: Pointer;
  readonly size: number;
  readonly dtype: tf.DataType;
  format: Format;
  references: number;
  room?: Room | undefined;
}

const BYTES = { float32: 4, int32: 4, bool: 1, complex64: 8, string: 0 } as const;

/** Of one value. */
const bytesOf = ({ dtype, format }: Pick<Block, 'dtype' | 'format'>): number => (format === 'bf16' ? 2 : BYTES[dtype]);

/**
 * Tensors in memory of the addon: freed with the tensor, read by JavaScript on demand. The tensor library knows no bf16: activations that
 * are held so are float32 to it, and are widened where a kernel or JavaScript wants f32.
 */
export class NativeBackend extends tf.KernelBackend implements BackendCapabilities {
  readonly holdsBf16 = true;
  readonly skipsOtherDocuments = true;
  readonly trainsBf16 = true;
  private readonly blocks: tf.DataStorage<Block>;

  /** @param precision `bf16` rounds the operands of every matrix product for the matrix units; sums stay f32 */
  constructor(
    readonly addon: Addon,
    readonly precision: 'f32' | 'bf16',
  ) {
    super();
    this.blocks = new tf.DataStorage(this, tf.engine());
  }

  /**
   * Uninitialised memory for a kernel's result.
   * @param stays as an optimizer's state does: it gets a block of its own size
   */
  output(shape: number[], dtype: tf.DataType, format: Format = 'f32', stays = false): tf.TensorInfo {
    const dataId = {};
    this.allocate(dataId, shape, dtype, 1, format, stays);
    return { dataId, shape, dtype };
  }

  format(x: tf.TensorInfo): Format {
    return this.blocks.get(x.dataId).format;
  }

  /** Bytes of one value. */
  valueBytes(x: tf.TensorInfo): number {
    return bytesOf(this.blocks.get(x.dataId));
  }

  /** The same memory under another shape. */
  share(x: tf.TensorInfo, shape: number[], dtype = x.dtype): tf.TensorInfo {
    this.incRef(x.dataId);
    return { dataId: x.dataId, shape, dtype };
  }

  /** Whether x lies in memory of other tensors. */
  shared(x: tf.TensorInfo): boolean {
    const { references, room } = this.blocks.get(x.dataId);
    return references > 1 || (room !== undefined && room.users > 1);
  }

  /** x to be written to: its own memory where nobody shares it, else a copy. */
  own(x: tf.TensorInfo): tf.TensorInfo {
    if (!this.shared(x)) return this.share(x, x.shape);
    const out = this.output(x.shape, x.dtype, this.format(x));
    this.addon.copy(this.values(out), this.values(x), tf.util.sizeFromShape(x.shape) * this.valueBytes(x));
    return out;
  }

  /** Memory for a gradient: that of the sum so far, to be added to, where nobody shares it and it is held so; else of its own. */
  gradient(shape: number[], format: Format, sum?: tf.TensorInfo): { out: tf.TensorInfo; adds: 0 | 1 } {
    if (!sum || this.shared(sum) || this.format(sum) !== format)
      return { out: this.output(shape, 'float32', format), adds: 0 };
    return { out: this.share(sum, shape), adds: 1 };
  }

  /** For kernels that take f32 only: bf16 values are widened, once for all who share them. */
  pointer(x: tf.TensorInfo): Pointer {
    const block = this.blocks.get(x.dataId);
    if (block.format === 'bf16') {
      const pointer = this.addon.alloc(4 * block.size);
      this.addon.widen(block.pointer, pointer, block.size);
      this.free(block);
      block.pointer = pointer;
      block.format = 'f32';
      block.room = undefined;
    }
    return block.pointer;
  }

  /** For a kernel that changes x: its values, held in the given format from now on. */
  holdAs(format: Format, x: tf.TensorInfo): Values {
    const block = this.blocks.get(x.dataId);
    if (format === 'f32') return this.pointer(x);
    if (block.format === 'f32') {
      const pointer = this.addon.alloc(Math.max(4, 2 * block.size));
      this.addon.narrow(block.pointer, pointer + 1, block.size);
      this.free(block);
      block.pointer = pointer;
      block.format = 'bf16';
      block.room = undefined;
    }
    return this.values(x);
  }

  /** The values of x and those of `more` behind them. */
  append(x: tf.TensorInfo, more: tf.TensorInfo, shape: number[]): tf.TensorInfo {
    if (this.format(x) !== this.format(more)) [x, more].map((part) => this.pointer(part));
    const out = this.extend(x, shape);
    const [before, added] = [this.blocks.get(x.dataId), this.blocks.get(more.dataId)];
    const bytes = bytesOf(before);
    const { pointer } = this.blocks.get(out.dataId);
    this.addon.copy(pointer + bytes * before.size, added.pointer, bytes * added.size);
    return out;
  }

  /**
   * A larger tensor that begins with the values of x; the others are to be written. It lies where x lies, when there is room and nothing was
   * put there yet, else in new memory with as much room again. Either way x keeps its values.
   */
  extend(x: tf.TensorInfo, shape: number[]): tf.TensorInfo {
    const before = this.blocks.get(x.dataId);
    const { format } = before;
    const bytes = bytesOf(before);
    const size = tf.util.sizeFromShape(shape);
    let { pointer, room } = before;
    if (!room || room.used !== before.size || room.capacity < size) {
      room = { capacity: 2 * size, used: 0, users: 0 };
      pointer = this.addon.alloc(bytes * room.capacity);
      this.addon.copy(pointer, before.pointer, bytes * before.size);
    }
    room.used = size;
    room.users += 1;
    const dataId = {};
    this.blocks.set(dataId, { pointer, size, dtype: 'float32', format, references: 1, room });
    return { dataId, shape, dtype: 'float32' };
  }

  /** See `MapFile` of @lft/core: frozen weights are read where they lie in the file. */
  readonly mapFile = (file: number, offset: number, bytes: number, path: string): ArrayBuffer =>
    this.addon.mapFile(file, offset, bytes, path);

  readonly forgetPages = (data: NodeJS.TypedArray): void => this.addon.forgetPages(data);

  /** For kernels that take either format. */
  values(x: tf.TensorInfo): Values {
    const { pointer, format } = this.blocks.get(x.dataId);
    return format === 'bf16' ? pointer + 1 : pointer;
  }

  private allocate(
    dataId: tf.DataId,
    shape: number[],
    dtype: tf.DataType,
    references: number,
    format: Format = 'f32',
    stays = false,
  ): Pointer {
    if (dtype === 'string' || dtype === 'complex64') {
      throw new Error(`the native backend holds numbers, and no tensors of dtype ${dtype}`);
    }
    const size = tf.util.sizeFromShape(shape);
    const pointer = this.addon.alloc(Math.max(4, size * bytesOf({ dtype, format })), Number(stays));
    this.blocks.set(dataId, { pointer, size, dtype, format, references });
    return pointer;
  }

  override write(values: tf.BackendValues, shape: number[], dtype: tf.DataType): tf.DataId {
    const dataId = {};
    this.move(dataId, values, shape, dtype, 1);
    return dataId;
  }

  override move(
    dataId: tf.DataId,
    values: tf.BackendValues,
    shape: number[],
    dtype: tf.DataType,
    refCount: number,
  ): void {
    // What comes from JavaScript is small, or stays: weights that train, their optimizer's first state.
    const pointer = this.allocate(dataId, shape, dtype, refCount, 'f32', true);
    if (values) this.addon.write(pointer, values as Float32Array);
  }

  override readSync(dataId: tf.DataId): tf.BackendValues {
    const block = this.blocks.get(dataId);
    const { pointer, size, dtype, format } = block;
    const buffer = this.addon.read(pointer, size * bytesOf(block));
    if (format === 'bf16') return float32FromBFloat16(new Uint16Array(buffer));
    if (dtype === 'int32') return new Int32Array(buffer);
    return dtype === 'bool' ? new Uint8Array(buffer) : new Float32Array(buffer);
  }

  override async read(dataId: tf.DataId): Promise<tf.BackendValues> {
    return this.readSync(dataId);
  }

  override disposeData(dataId: tf.DataId, force = false): boolean {
    if (!this.blocks.has(dataId)) return true;
    const block = this.blocks.get(dataId);
    block.references -= 1;
    if (!force && block.references > 0) return false;
    this.free(block);
    this.blocks.delete(dataId);
    return true;
  }

  private free({ pointer, room }: Block): void {
    if (room) room.users -= 1;
    if (!room || room.users === 0) this.addon.release(pointer);
  }

  override incRef(dataId: tf.DataId): void {
    this.blocks.get(dataId).references += 1;
  }

  override refCount(dataId: tf.DataId): number {
    return this.blocks.has(dataId) ? this.blocks.get(dataId).references : 0;
  }

  override numDataIds(): number {
    return this.blocks.numDataIds();
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  override timerAvailable(): boolean {
    return true;
  }

  override async time(work: () => void): Promise<tf.BackendTimingInfo> {
    const start = performance.now();
    work();
    return { kernelMs: performance.now() - start };
  }

  override memory() {
    return { unreliable: false, inUse: this.addon.bytesInUse(), pooled: this.addon.bytesPooled() };
  }

  override dispose(): void {
    this.addon.trim();
  }
}
