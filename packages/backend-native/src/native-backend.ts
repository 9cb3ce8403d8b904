import * as tf from '@tensorflow/tfjs-core';
import type { Addon, Pointer } from './addon.js';

/** A tensor's memory. Several tensors may share it (reshaped views). */
interface Block {
  readonly pointer: Pointer;
  readonly bytes: number;
  readonly dtype: tf.DataType;
  references: number;
}

const BYTES = { float32: 4, int32: 4, bool: 1, complex64: 8, string: 0 } as const;

/** Tensors in memory of the addon: freed with the tensor, read by JavaScript on demand. */
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
  output(shape: number[], dtype: tf.DataType): tf.TensorInfo {
    const dataId = {};
    this.allocate(dataId, shape, dtype, 1);
    return { dataId, shape, dtype };
  }

  /** The same memory under another shape. */
  share(x: tf.TensorInfo, shape: number[], dtype = x.dtype): tf.TensorInfo {
    this.incRef(x.dataId);
    return { dataId: x.dataId, shape, dtype };
  }

  pointer(x: tf.TensorInfo): Pointer {
    return this.blocks.get(x.dataId).pointer;
  }

  private allocate(dataId: tf.DataId, shape: number[], dtype: tf.DataType, references: number): Pointer {
    if (dtype === 'string' || dtype === 'complex64') {
      throw new Error(`the native backend holds numbers, and no tensors of dtype ${dtype}`);
    }
    const bytes = Math.max(4, tf.util.sizeFromShape(shape) * BYTES[dtype]);
    const pointer = this.addon.alloc(bytes);
    this.blocks.set(dataId, { pointer, bytes, dtype, references });
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
    const { pointer, bytes, dtype } = this.blocks.get(dataId);
    const buffer = this.addon.read(pointer, bytes);
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
