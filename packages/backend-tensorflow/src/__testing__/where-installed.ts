import { readyPackage } from '../use-tensorflow.js';

/** Runs the tests where TensorFlow can start; elsewhere they are skipped, and their name says why. */
export function whereInstalled(name: string, tests: () => void): void {
  if (readyPackage()) describe(name, tests);
  else
    describe.skip(
      `${name} (skipped: no TensorFlow; LFT_TENSORFLOW names a folder where lft setup tensorflow ran)`,
      tests,
    );
}
