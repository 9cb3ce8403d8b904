import { type Held, nodeBackend, TYPE } from './node-binding.js';
import type { RawCall } from './raw-call.js';

/** TensorFlow's threads and device are chosen once in a process. */
let known: boolean | undefined;

/**
 * Whether products of bf16 are best left to TensorFlow. On a CPU they are not where it has no units for them, or slow ones: those that Intel's
 * have beside their matrix units take twice as long as f32. Elsewhere the two differ as clearly, so that some milliseconds of products tell.
 */
export function multipliesBf16Fast(call: RawCall): boolean {
  known ??= nodeBackend().binding.isUsingGpuDevice() || measure(call);
  return known;
}

function measure(call: RawCall): boolean {
  // So large that the time is that of the multiplications, and not of the call.
  const [rows, columns] = [512, 1024];
  const f32 = call.upload([rows, columns], TYPE.float32, new Float32Array(rows * columns));
  const bf16 = call.cast(f32, TYPE.bfloat16);
  const time = (x: Held) => {
    const begin = performance.now();
    call.multiply(x, x, { transposeB: true });
    return performance.now() - begin;
  };
  const times = Array.from({ length: 5 }, () => [time(f32), time(bf16)] as const);
  const shortest = (i: 0 | 1) => Math.min(...times.map((pair) => pair[i]));
  return shortest(1) < 1.4 * shortest(0);
}
