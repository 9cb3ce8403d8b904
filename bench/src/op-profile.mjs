import { importTensorLibrary } from './import-package.mjs';

const tf = await importTensorLibrary();

/**
 * Times every kernel and every gradient of the current backend from now on, by wrapping them in the registry. An op that runs others
 * inside (a reference in plain tensor operations, a gradient) gets their time too: `whole` is its own and theirs, `self` without theirs.
 * @returns called once with the number of steps, it gives the milliseconds a step
 */
export function profileKernels() {
  const kernels = new Map();
  const operations = new Map();
  const open = [];
  const began = performance.now();

  function timed(name, run) {
    const frame = { inside: 0 };
    open.push(frame);
    const start = performance.now();
    try {
      return run();
    } finally {
      const took = performance.now() - start;
      open.pop();
      const parent = open.at(-1);
      if (parent) parent.inside += took;
      add(kernels, name, took - frame.inside);
      if (!parent) add(operations, name, took);
    }
  }

  // Kernels are looked up in the registry at each call, so that what is put into it now is what runs from here on.
  for (const kernel of tf.getKernelsForBackend(tf.getBackend())) {
    const { kernelFunc } = kernel;
    kernel.kernelFunc = (call) => timed(kernel.kernelName, () => kernelFunc(call));
    const gradient = tf.getGradient(kernel.kernelName);
    if (!gradient) continue;
    const { gradFunc } = gradient;
    gradient.gradFunc = (...call) => {
      const name = `${kernel.kernelName}, gradient`;
      const thunks = timed(name, () => gradFunc(...call));
      const onto = (thunk) => (sum) => timed(name, () => thunk(sum));
      return Object.fromEntries(Object.entries(thunks).map(([input, thunk]) => [input, onto(thunk)]));
    };
  }

  return (steps) => {
    const total = performance.now() - began;
    const rows = (map) =>
      [...map]
        .map(([name, { calls, time }]) => ({ name, calls: calls / steps, ms: time / steps, share: time / total }))
        .sort((a, b) => b.ms - a.ms);
    return { step: total / steps, operations: rows(operations), kernels: rows(kernels) };
  };
}

function add(map, name, time) {
  const entry = map.get(name) ?? { calls: 0, time: 0 };
  entry.calls += 1;
  entry.time += time;
  map.set(name, entry);
}
