import type * as tf from '@tensorflow/tfjs-core';

/** The part of WebGPU that is used here. Its types would come with packages that are optional. */
export interface GpuBuffer {
  readonly size: number;
  readonly mapState: 'unmapped' | 'pending' | 'mapped';
  mapAsync(mode: number): Promise<void>;
  getMappedRange(): ArrayBuffer;
  unmap(): void;
}

export interface GpuAdapter {
  readonly info: { readonly vendor: string; readonly description: string };
  readonly limits: Readonly<Record<string, number>>;
  requestDevice(descriptor: { readonly requiredLimits: Readonly<Record<string, number>> }): Promise<GpuDevice>;
}

export interface GpuDevice {
  addEventListener(
    type: 'uncapturederror',
    listener: (event: { readonly error: { readonly message: string } }) => void,
  ): void;
}

export interface Gpu {
  requestAdapter(options: { readonly powerPreference: string }): Promise<GpuAdapter | null>;
}

/** Package `webgpu`: Dawn for Node. */
export interface DawnModule {
  create(options: readonly string[]): Gpu;
  readonly globals: object;
}

/** The part of the backend of @tensorflow/tfjs-backend-webgpu that is used here. */
export interface WebGpuBackend extends tf.KernelBackend {
  readonly tensorMap: {
    get(id: object): { values: tf.BackendValues | null; readonly dtype: tf.DataType; readonly resource: GpuBuffer };
  };
  readonly bufferManager: {
    acquireBuffer(size: number, usage: number): GpuBuffer;
    releaseBuffer(buffer: GpuBuffer): void;
  };
  readonly commandEncoder: {
    copyBufferToBuffer(from: GpuBuffer, begin: number, to: GpuBuffer, at: number, size: number): void;
  };
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
  convertAndCacheOnCPU(id: object, values: tf.BackendValues): tf.BackendValues;
}

export interface BackendModule {
  readonly WebGPUBackend: new (device: GpuDevice, info: GpuAdapter['info']) => WebGpuBackend;
}
