import { LftError } from '@lft/core';
import type { NodePackage } from '../find-package.js';
import { lastLines, runProgram } from './run-program.js';

export interface Verified {
  /** Version of the library. */
  readonly tensorflow: string;
  readonly device: 'CPU' | 'GPU';
}

/** A product, its gradient, and a product in bf16, whose values are known. */
const PROGRAM = `
const util = require('node:util');
util.isNullOrUndefined ??= (value) => value === null || value === undefined;
util.isArray ??= Array.isArray;
const tf = require(process.argv[1]);
const w = tf.tensor2d([1, 0, 0, 1], [2, 2]);
const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
const { value, grad } = tf.valueAndGrad((w) => tf.sum(tf.matMul(x, w)))(w);
const backend = tf.backend();
const { binding } = backend;
const type = (name, value) => ({ name, type: binding.TF_ATTR_TYPE, value });
const [narrow] = binding.executeOp('Cast', [type('SrcT', 1), type('DstT', 14)], backend.getInputTensorIds([x]), 1);
const [product] = binding.executeOp('MatMul', [type('T', 14)], [narrow.id, narrow.id], 1);
const [wide] = binding.executeOp('Cast', [type('SrcT', 14), type('DstT', 1)], [product.id], 1);
console.log(JSON.stringify({
  results: [...value.dataSync(), ...grad.dataSync(), ...binding.tensorDataSync(wide.id)],
  tensorflow: binding.TF_Version,
  device: binding.isUsingGpuDevice() ? 'GPU' : 'CPU',
}));
`;
const EXPECTED = [10, 4, 4, 6, 6, 7, 10, 15, 22];

/**
 * Computes with the addon in a process of its own: one that cannot be loaded may take the process with it.
 * @throws LftError backend-unavailable
 */
export async function verifyBinding({ root, name }: NodePackage): Promise<Verified> {
  const ended = await runProgram(process.execPath, ['-e', PROGRAM, root], { TF_CPP_MIN_LOG_LEVEL: '2' });
  const line = ended.stdout.trim().split('\n').at(-1) ?? '';
  if (ended.code !== 0 || !line.startsWith('{')) {
    throw new LftError('backend-unavailable', `${name} was built and does not run: ${lastLines(ended)}`, {
      output: ended.stderr,
    });
  }
  const { results, tensorflow, device } = JSON.parse(line) as Verified & { results: number[] };
  if (results.join() !== EXPECTED.join()) {
    throw new LftError(
      'backend-unavailable',
      `${name} computes wrongly: ${results.join(', ')} and not ${EXPECTED.join(', ')}`,
    );
  }
  return { tensorflow, device };
}
