import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { nativeProblem } from './index.js';
import { openAddon } from './load-addon.js';

/** Multiplies ones by twos in memory of the addon, over sizes that both workers use, and counts wrong results. */
const WORK = `
const { parentPort, workerData } = require('node:worker_threads');
const addon = require(workerData);
addon.setThreads(1);
let wrong = 0;
for (let round = 0; round < 1500; round++) {
  const n = 64 + 8 * (round % 7);
  const [x, y, z] = [0, 0, 0].map(() => addon.alloc(4 * n * n));
  addon.fill(x, n * n, 1);
  addon.fill(y, n * n, 2);
  addon.matmul(x, y, z, n, n, n, 0, 0, 0, 0);
  if (new Float32Array(addon.read(z, 4 * n * n)).some((value) => value !== 2 * n)) wrong++;
  for (const block of [x, y, z]) addon.release(block);
}
parentPort.postMessage({ wrong, left: addon.bytesInUse() });
`;

(nativeProblem() ? test.skip : test)('two workers do not get into each other’s way', async () => {
  const { file } = openAddon();
  const workers = [0, 1].map(() => new Worker(WORK, { eval: true, workerData: file }));
  const answers = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
  expect(answers).toEqual([
    { wrong: 0, left: 0 },
    { wrong: 0, left: 0 },
  ]);
});
