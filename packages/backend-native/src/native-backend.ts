import { float32FromBFloat16 } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import type { Addon, Pointer, Values } from './addon.js';

/** How float32 values lie in memory: as they are, or rounded to bf16. */
export type Format = 'f32' | 'bf16';

/** A tensor's memory. Several tensors may share it (reshaped views). */
interface Block {
  pointer: Pointer;
  readonly size: number;
  readonly dtype: tf.DataType;
  format: Format;
  references: number;
}

const BYTES = { float32: 4, int32: 4, bool: 1, complex64: 8, string: 0 } as const;

/**
 * Tensors in memory of the addon: freed with the tensor, read by JavaScript on demand. The tensor library knows no bf16: activations that
 * are held so are float32 to it, and are widened where a kernel or JavaScript wants f32.
 */
export class NativeBackend extends tf.KernelBackend {
  private readonly blocks: tf.DataStorage<Block>;

  /** @param precision `bf16` rounds the operands of every matrix product for the matrix units; sums stay f32 */
  constructor(
    readonly addon: Addon,
    readonly precision: 'f32' | 'bf16',
  ) {
    super();
    this.blocks = new tf.DataStorage(this, tf.engine());
  }

  /** Uninitialised memory for a kernel's result. */
  output(shape: number[], dtype: tf.DataType, format: Format = 'f32'): tf.TensorInfo {
    const dataId = {};
    this.allocate(dataId, shape, dtype, 1, format);
    return { dataId, shape, dtype };
  }

  format(x: tf.TensorInfo): Format {
    return this.blocks.get(x.dataId).format;
  }

  /** The same memory under another shape. */
  share(x: tf.TensorInfo, shape: number[], dtype = x.dtype): tf.TensorInfo {
    this.incRef(x.dataId);
    return { dataId: x.dataId, shape, dtype };
  }

  /** x to be written to: its own memory where nobody shares it, else a copy. */
  own(x: tf.TensorInfo): tf.TensorInfo {
    if (this.refCount(x.dataId) === 1) return this.share(x, x.shape);
    const out = this.output(x.shape, x.dtype, this.format(x));
    const { size, format } = this.blocks.get(x.dataId);
    this.addon.copy(this.values(out), this.values(x), size * (format === 'bf16' ? 2 : BYTES[x.dtype as 'float32']));
    return out;
  }

  /** For kernels that take f32 only: bf16 values are widened, once for all who share them. */
  pointer(x: tf.TensorInfo): Pointer {
    const block = this.blocks.get(x.dataId);
    if (block.format === 'bf16') {
      const pointer = this.addon.alloc(4 * block.size);
      this.addon.widen(block.pointer, pointer, block.size);
      this.addon.release(block.pointer);
      block.pointer = pointer;
      block.format = 'f32';
    }
    return block.pointer;
  }

  /** See `MapFile` of @lft/core: frozen weights are read where they lie in the file. */
  mapFile(file: number, offset: number, bytes: number, path: string): ArrayBuffer {
    return this.addon.mapFile(file, offset, bytes, path);
  }

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
  ): Pointer {
    if (dtype === 'string' || dtype === 'complex64') {
      throw new Error(`the native backend holds numbers, and no tensors of dtype ${dtype}`);
    }
    const size = tf.util.sizeFromShape(shape);
    const pointer = this.addon.alloc(Math.max(4, size * (format === 'bf16' ? 2 : BYTES[dtype])));
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
    const pointer = this.allocate(dataId, shape, dtype, refCount);
    if (values) this.addon.write(pointer, values as Float32Array);
  }

  override readSync(dataId: tf.DataId): tf.BackendValues {
    const { pointer, size, dtype, format } = this.blocks.get(dataId);
    if (format === 'bf16') return float32FromBFloat16(new Uint16Array(this.addon.read(pointer, 2 * size)));
    const buffer = this.addon.read(pointer, size * BYTES[dtype as 'float32']);
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
    this.addon.release(block.pointer);
    this.blocks.delete(dataId);
    return true;
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
