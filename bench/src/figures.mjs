import { countedFlop, SHAPES, weightBytes } from './shapes.mjs';

/** Steps between two importance rounds of IST, over which the cost of one is spread: T_i of the method. */
const IST_INTERVAL = 10;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The figures of one setting of a case, from one or several runs of it.
 * @param peak GFLOPS of a product in the format
 */
export function figures({ shape, method, batch, length }, runs, peak) {
  const failed = runs.find((run) => run.failed);
  if (failed) return { failed: failed.failed };
  const probes = runs.flatMap((run) => run.probes);
  const step = median(runs.flatMap((run) => run.steps)) + (probes.length > 0 ? median(probes) / IST_INTERVAL : 0);
  const tokens = batch * length;
  const rate = countedFlop(SHAPES[shape], method, tokens) / step / 1e6;
  return {
    step,
    tokensPerSecond: (1000 * tokens) / step,
    gigaflops: rate,
    ofPeak: peak && rate / peak,
    peak: Math.max(...runs.map((run) => run.peak)),
    firstStep: median(runs.map((run) => (run.firstStep - run.began) / 1000)),
    loss: runs[0].loss,
    others: Math.max(...runs.map((run) => run.others ?? 0)),
    count: runs.reduce((sum, run) => sum + run.steps.length, 0),
  };
}

/** MB that a run held beyond the weights that it trains or reads. */
export function memoryAboveWeights({ shape, weights }, { peak }) {
  return peak - weightBytes(SHAPES[shape], weights === 'f32' ? 4 : 2) / 1024 ** 2;
}
