/** Generation by this library, in a process of its own: `node generate-ours.mjs JSON` with { model, prompt, tokens, weights }. */
import { AdaptedModel, generate, loadModel } from '@lft/core';
import { startBackend } from './backend.mjs';
import { importTensorLibrary } from './import-package.mjs';
import { cpuSeconds, memoryMegabytes } from './process-usage.mjs';

const { model: folder, prompt, tokens, weights } = JSON.parse(process.argv[2]);
const tf = await importTensorLibrary();
await startBackend('native');
const base = await loadModel(folder, { weights });
const model = new AdaptedModel(base);
const ids = Array.from({ length: prompt }, (_, i) => (i * 37 + 5) % base.info.vocabularySize);

async function milliseconds(maxNewTokens) {
  const began = performance.now();
  await generate(model, ids, { maxNewTokens, stopIds: [] });
  return performance.now() - began;
}

const products = base.sites.flatMap(({ path, kind }) => (kind === 'linear' ? [base.weight(path, 'weight')] : []));

/** Bytes a second at which a weight's file, or the largest weight, is read by a kernel that does nothing else. */
function readSpeed() {
  const { data } = products.reduce((a, b) => (a.bytes > b.bytes ? a : b));
  const { buffer } = data;
  const values = new Float32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
  const { addon } = tf.backend();
  const seconds = Array.from({ length: 8 }, () => {
    const began = performance.now();
    addon.squaredNorm(values, values.length);
    return (performance.now() - began) / 1000;
  });
  return buffer.byteLength / Math.min(...seconds);
}

await milliseconds(8);
const first = Math.min(await milliseconds(1), await milliseconds(1));
const whole = Math.min(await milliseconds(tokens), await milliseconds(tokens));
console.log(
  JSON.stringify({
    promptMilliseconds: first,
    tokensPerSecond: (1000 * (tokens - 1)) / (whole - first),
    bytesPerToken: products.reduce((sum, { bytes }) => sum + bytes, 0),
    readSpeed: readSpeed(),
    peak: memoryMegabytes().peak,
    cpu: cpuSeconds(),
  }),
);
