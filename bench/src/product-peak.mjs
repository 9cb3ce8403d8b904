/**
 * How fast the backend multiplies: `node product-peak.mjs JSON` with { backend, sizes, seconds }. Prints the best GFLOPS of x·Wᵀ by
 * format and size, through the op that linear modules run.
 */
import { bfloat16FromFloat32, FrozenWeight, ops } from '@lft/core';
import { startBackend } from './backend.mjs';
import { importTensorLibrary } from './import-package.mjs';
import { cpuSeconds } from './process-usage.mjs';

const { backend, sizes, seconds } = JSON.parse(process.argv[2]);
await startBackend(backend);
const tf = await importTensorLibrary();

function best(size, format) {
  const values = Float32Array.from({ length: size * size }, (_, i) => ((i * 2654435761) % 1000) / 1000 - 0.5);
  const weight = new FrozenWeight('peak', [size, size], format === 'f32' ? values : bfloat16FromFloat32(values));
  const x = tf.tensor2d(values, [size, size]);
  const once = () => {
    const start = performance.now();
    const y = ops.linear(x, weight);
    // One value read back: the product is done then, on a backend that works behind the call too.
    tf.tidy(() => tf.slice(y, [0, 0], [1, 1]).dataSync());
    y.dispose();
    return performance.now() - start;
  };
  once();
  let shortest = Number.POSITIVE_INFINITY;
  const end = performance.now() + 1000 * seconds;
  do shortest = Math.min(shortest, once());
  while (performance.now() < end);
  x.dispose();
  return (2 * size ** 3) / shortest / 1e6;
}

const peaks = {};
for (const format of ['f32', 'bf16']) {
  peaks[format] = Object.fromEntries(sizes.map((size) => [size, best(size, format)]));
}
console.log(JSON.stringify({ peaks, cpu: cpuSeconds() }));
