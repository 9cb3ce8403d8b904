/** `node .ci/setup-tensorflow.mjs FOLDER`: `lft setup tensorflow` for the tfjs-node in FOLDER, before the whole workspace is built. */
import { setupTensorFlow } from '../packages/backend-tensorflow/dist/index.js';

try {
  await setupTensorFlow({ folder: process.argv[2] }, console.log);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
