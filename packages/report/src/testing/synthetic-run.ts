import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** What tests vary of a run that never was. */
export interface SyntheticRun {
  readonly source?: string;
  readonly selector: { name: string; granularity: 'block' | 'module' | 'matrix'; options: unknown };
  readonly units: readonly { id: string; block: number | null; role: string; size: number }[];
  readonly steps: number;
  /** Steps that the run was to have; as many as it has when absent. */
  readonly planned?: number;
  readonly active: (step: number, random: () => number) => string[];
  /** Scores after a number of steps, or undefined where they do not change. */
  readonly scores?: (step: number, random: () => number) => Record<string, number> | undefined;
  readonly evaluateEvery?: number;
}

const made: string[] = [];

/** Takes away every folder that {@link syntheticRun} made. */
export async function removeSyntheticRuns(): Promise<void> {
  for (const folder of made.splice(0)) await rm(dirname(folder), { recursive: true, force: true });
}

/** Writes a run folder as the trainer does, from a fixed seed. */
export async function syntheticRun(run: SyntheticRun): Promise<string> {
  const folder = join(await mkdtemp(join(tmpdir(), 'lft-report-')), 'run');
  await mkdir(folder);
  made.push(folder);
  const random = generator(run.steps + run.units.length);
  const { steps, units, evaluateEvery = Math.max(1, Math.floor(steps / 12)) } = run;
  const trainable = units.reduce((sum, { size }) => sum + size, 0);
  const config = {
    version: 1,
    model: {
      source: run.source ?? 'models/stories260K',
      architecture: 'LlamaForCausalLM',
      fingerprint: '9f2c4e',
      blocks: 1 + Math.max(0, ...units.map(({ block }) => block ?? 0)),
      width: 64,
      vocabularySize: 512,
    },
    adapter: { name: 'lora', options: { rank: 8, alpha: 16, dropout: 0, targets: ['q_proj', 'v_proj'] } },
    selector: run.selector,
    optimizer: { name: 'adamw', options: { learningRate: 2e-4, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 } },
    data: {
      options: { file: 'alpaca.jsonl', template: 'alpaca' },
      fingerprint: '77aa01',
      description: '2,000 rows of alpaca.jsonl, template alpaca',
    },
    training: {
      steps: run.planned ?? steps,
      batchSize: 8,
      gradientAccumulation: 1,
      maxLength: 256,
      schedule: 'linear',
      warmupSteps: 10,
      clipNorm: 1,
      optimizerState: 'keep',
      recompute: false,
      seed: 7,
      evaluateEvery,
    },
    backend: 'wasm',
    units,
    trainable,
    total: trainable * 24,
  };
  const metrics: object[] = [{ step: 0, validationLoss: 2.412 }];
  const timings: object[] = [];
  const importance: object[] = [];
  const planned = run.planned ?? steps;
  for (let step = 0; step < steps; step++) {
    const fall = 1.72 + 0.72 * Math.exp((-4 * step) / planned);
    const tokens = 700 + Math.floor(200 * random());
    const probed = run.scores !== undefined && step % 10 === 0;
    const scores = run.scores?.(step, random);
    if (scores) importance.push({ step, method: run.selector.name, granularity: run.selector.granularity, scores });
    metrics.push({
      step,
      loss: fall + 0.22 * (random() - 0.5),
      tokens,
      learningRate: 2e-4 * Math.min(1, (step + 1) / 10) * (1 - step / planned),
      gradientNorm: 0.5 + 0.6 * random() + (random() > 0.97 ? 2 : 0),
      active: run.active(step, random),
    });
    if ((step + 1) % evaluateEvery === 0) metrics.push({ step: step + 1, validationLoss: fall + 0.06 });
    const seconds = 0.28 + 0.05 * random() + (probed ? 0.3 : 0);
    timings.push({
      step,
      seconds,
      tokensPerSecond: tokens / (seconds - (probed ? 0.3 : 0)),
      rssBytes: 4.1e8 + 6e7 * Math.min(1, step / 30),
      tensorBytes: 9.2e7 + 4e6 * random(),
      probeSeconds: probed ? 0.3 : 0,
    });
  }
  const lines = (items: object[]) => items.map((item) => `${JSON.stringify(item)}\n`).join('');
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeFile(join(folder, 'metrics.jsonl'), lines(metrics));
  await writeFile(join(folder, 'timings.jsonl'), lines(timings));
  if (importance.length > 0) await writeFile(join(folder, 'importance.jsonl'), lines(importance));
  return folder;
}

const blockUnits = (blocks: number) =>
  Array.from({ length: blocks }, (_, block) => ({ id: `model.layers.${block}`, block, role: 'block', size: 4096 }));

/** IST: five blocks, two of them in a step, scores that change every ten steps. */
export const istRun: SyntheticRun = {
  selector: { name: 'ist', granularity: 'block', options: { active: 2, suppress: 0.25, every: 10 } },
  units: blockUnits(5),
  steps: 120,
  active: (_, random) => two(5, random).map((block) => `model.layers.${block}`),
  scores: (step, random) =>
    step % 10 === 0
      ? Object.fromEntries(
          [0.02, -0.05, 0.11, 0.3, 0.22].map((rise, block) => [
            `model.layers.${block}`,
            rise * (step / 40) + 0.05 * (random() - 0.5),
          ]),
        )
      : undefined,
};

/** LISA: thirty blocks, two of them for twenty steps, and always the embedding, the final norm and the head. */
export const lisaRun: SyntheticRun = {
  source: 'models/SmolLM2-135M',
  selector: { name: 'lisa', granularity: 'block', options: { active: 2, every: 20 } },
  units: [
    { id: 'model.embed_tokens', block: null, role: 'embed', size: 28_311_552 },
    ...blockUnits(30).map((unit) => ({ ...unit, size: 3_540_096 })),
    { id: 'model.norm', block: null, role: 'norm', size: 576 },
    { id: 'lm_head', block: null, role: 'head', size: 28_311_552 },
  ],
  steps: 600,
  active: (step) => [
    'model.embed_tokens',
    ...two(30, generator(Math.floor(step / 20))).map((block) => `model.layers.${block}`),
    'model.norm',
    'lm_head',
  ],
};

const MODULES = [
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.o_proj',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
];
const ilaUnits = Array.from({ length: 30 }, (_, block) =>
  MODULES.map((module) => ({
    id: `model.layers.${block}.${module}`,
    block,
    role: module.slice(module.indexOf('.') + 1, -5),
    size: 9216,
  })),
).flat();
const ilaScore = (index: number, step: number, random: () => number) => {
  const [block, module] = [Math.floor(index / 7), index % 7];
  const final = 0.5 + 0.25 * Math.sin(block / 4.5) + [0.08, -0.1, 0.14, 0.02, -0.08, 0.05, 0.1][module]!;
  return Math.max(0.01, Math.min(0.99, 0.5 + (final - 0.5) * Math.min(1, step / 200) + 0.08 * (random() - 0.5)));
};

/** ILA: seven modules in each of thirty blocks; all train at first, then the most important three quarters. */
export const ilaRun: SyntheticRun = {
  source: 'models/SmolLM2-135M',
  selector: { name: 'ila', granularity: 'module', options: { keep: 0.75, warmup: 100 } },
  units: ilaUnits,
  steps: 300,
  active: (step) =>
    ilaUnits.filter((_, index) => step < 100 || ilaScore(index, 200, () => 0.5) > 0.4).map(({ id }) => id),
  scores: (step, random) =>
    step % 20 === 0
      ? Object.fromEntries(ilaUnits.map(({ id }, index) => [id, ilaScore(index, step, random)]))
      : undefined,
};

function two(of: number, random: () => number): number[] {
  const first = Math.floor(of * random());
  const second = (first + 1 + Math.floor((of - 1) * random())) % of;
  return [first, second].sort((a, b) => a - b);
}

/** mulberry32: small and good enough for pictures. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
