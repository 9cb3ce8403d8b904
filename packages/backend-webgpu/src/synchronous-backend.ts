import { LftError } from '@lft/core';
import type * as tf from '@tensorflow/tfjs-core';
import type { EventPump } from './event-pump.js';
import type { BackendModule, GpuAdapter, GpuDevice, WebGpuBackend } from './webgpu-types.js';

// Numbers of the WebGPU specification: GPUBufferUsage and GPUMapMode.
const MAP_READ = 1;
const COPY_DST = 8;
const READ = 1;

/**
 * The tensor library's WebGPU backend with reads that wait. Its own `readSync` draws on a canvas, which Node has not.
 * An error of the card (out of memory, a lost device) is silent in WebGPU and leaves zeros: here the next read throws it.
 */
export function synchronousBackend(
  { WebGPUBackend }: BackendModule,
  device: GpuDevice,
  info: GpuAdapter['info'],
  events: EventPump,
): WebGpuBackend {
  let failure: string | undefined;
  device.addEventListener('uncapturederror', ({ error }) => {
    failure ??= error.message;
  });
  const check = () => {
    if (failure !== undefined) throw failed(failure);
  };

  class SynchronousBackend extends WebGPUBackend {
    override readSync(id: object): tf.BackendValues {
      const { values, resource, dtype } = this.tensorMap.get(id);
      if (values) return values;
      const staging = this.bufferManager.acquireBuffer(resource.size, MAP_READ | COPY_DST);
      this.ensureCommandEncoderReady();
      this.endComputePassEncoder();
      this.commandEncoder.copyBufferToBuffer(resource, 0, staging, 0, resource.size);
      this.submitQueue();
      // Dawn aborts the process at its exit over a mapping that it refused, so that none is asked for after an error.
      events.runUntil(() => true);
      check();
      let problem: unknown;
      staging.mapAsync(READ).catch((error) => {
        problem = error;
      });
      events.runUntil(() => staging.mapState !== 'pending');
      check();
      if (staging.mapState !== 'mapped') throw failed(String(problem ?? 'the device is lost'));
      const bytes = staging.getMappedRange().slice(0);
      staging.unmap();
      this.bufferManager.releaseBuffer(staging);
      return this.convertAndCacheOnCPU(id, typed(bytes, dtype));
    }

    override async read(id: object): Promise<tf.BackendValues> {
      const values = await super.read(id);
      check();
      return values;
    }
  }
  return new SynchronousBackend(device, info);
}

/** Booleans take four bytes each on the card. */
function typed(bytes: ArrayBuffer, dtype: tf.DataType): tf.BackendValues {
  if (dtype === 'float32') return new Float32Array(bytes);
  return dtype === 'int32' ? new Int32Array(bytes) : Uint8Array.from(new Int32Array(bytes));
}

function failed(problem: string): LftError {
  return new LftError(
    'backend-unavailable',
    `backend "webgpu": the card failed (${problem.split('\n')[0]}). Where it is out of memory, a smaller batch or maxLength may fit; else start again, or use another backend.`,
    { problem },
  );
}
