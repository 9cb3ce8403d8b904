import {
  type Gates,
  type Json,
  keyedRandom,
  type LayerUnit,
  type Probe,
  type ProbeGates,
  type SelectorContext,
} from '@lft/core';
import { ila, selector as plugin } from './ila.js';
import type { IlaOptions } from './ila-options.js';
import { Stability } from './stability.js';
import { learnGates, leaveOneOutScores, taylorScores } from './unit-scores.js';

const unit = (id: string, block: number | undefined, role: LayerUnit['role']): LayerUnit => ({
  id,
  block,
  role,
  sites: [],
  parameters: [],
  size: 1,
});
const units = [
  unit('embed', undefined, 'embed'),
  ...[0, 1].flatMap((b) => [unit(`${b}.norm`, b, 'norm'), unit(`${b}.q`, b, 'q'), unit(`${b}.up`, b, 'up')]),
  unit('head', undefined, 'head'),
];
const context = (steps = 10, of: readonly LayerUnit[] = units): SelectorContext => ({
  units: of,
  blocks: 2,
  steps,
  random: (purpose, ...keys) => keyedRandom(0, 'ila', purpose, ...keys),
});
const ready = (options: IlaOptions = {}, steps = 10) => {
  const selector = ila(options);
  selector.setup(context(steps));
  return selector;
};

/** L = ½(Σ γ_i·a_i − target)²: quadratic in the gates of the units that `a` names. */
function quadratic(a: Readonly<Record<string, number>>, target = 1) {
  const calls: string[] = [];
  const residual = (gates: Gates | undefined) =>
    Object.entries(a).reduce((sum, [id, value]) => sum + (gates?.get(id) ?? 1) * value, -target);
  const probe = {
    batch: ({ index }: { index: number }) => {
      calls.push(`batch ${index}`);
      return { examples: 1, tokens: 1 };
    },
    async loss(_: unknown, gates?: ProbeGates) {
      return 0.5 * residual(gates?.units) ** 2;
    },
    async gateGradients(_: unknown, gates: Gates) {
      const r = residual(gates);
      return { loss: 0.5 * r * r, gradients: new Map(Object.entries(a).map(([id, value]) => [id, value * r])) };
    },
    async restart() {
      calls.push('restart');
    },
  } as unknown as Probe;
  return { probe, calls };
}
/** 0.up is useful, 1.q harmful, the rest nearly nothing. */
const model = () => quadratic({ '0.q': 0.01, '0.up': 0.6, '1.q': -0.3, '1.up': 0.02, head: 0.1 });

async function run(
  selector: ReturnType<typeof ila>,
  probe: Probe,
  from: number,
  to: number,
  loss = (step: number) => 5 - step,
) {
  const sets: string[] = [];
  for (let step = from; step < to; step++) {
    await selector.probe?.(step, probe);
    sets.push([...selector.select(step)].join());
    selector.observe?.({ step, loss: loss(step), gradientNorms: new Map(), parameterNorms: () => new Map() });
  }
  return sets;
}

describe('learned gates', () => {
  const data = { examples: 1, split: 'train' } as const;
  const logit = (p: number) => Math.log(p / (1 - p));

  test('two modules by hand: a = (1, −1), s = (0, 0), one SGD step of rate 1 gives s = (0.25, −0.25)', async () => {
    const { probe } = quadratic({ x: 1, y: -1 });
    const options = {
      ...data,
      gateStart: 0,
      gateSteps: 1,
      gateLearningRate: 1,
      gateOptimizer: 'sgd',
      penalty: 0,
    } as const;
    const { scores, loss, gatedLoss } = await learnGates(probe, ['x', 'y'], options);
    expect(logit(scores.get('x')!)).toBeCloseTo(0.25, 14);
    expect(logit(scores.get('y')!)).toBeCloseTo(-0.25, 14);
    // Residual −1 at γ = (0.5, 0.5) and at γ = (1, 1).
    expect([loss, gatedLoss]).toEqual([0.5, 0.5]);
  });

  test('the first step of Adam moves every gate by the rate, against its gradient', async () => {
    const { probe } = quadratic({ x: 1, y: -0.01 });
    const options = {
      ...data,
      gateStart: 4,
      gateSteps: 1,
      gateLearningRate: 0.01,
      gateOptimizer: 'adam',
      penalty: 0,
    } as const;
    const { scores } = await learnGates(probe, ['x', 'y'], options);
    expect(logit(scores.get('x')!)).toBeCloseTo(4.01, 3);
    expect(logit(scores.get('y')!)).toBeCloseTo(3.99, 3);
  });

  test('the penalty closes gates that do nothing', async () => {
    const { probe } = quadratic({ x: 1, y: 0 });
    const options = {
      ...data,
      gateStart: 4,
      gateSteps: 50,
      gateLearningRate: 0.01,
      gateOptimizer: 'adam',
      penalty: 0.01,
    } as const;
    const { scores } = await learnGates(probe, ['x', 'y'], options);
    expect(logit(scores.get('y')!)).toBeLessThan(3.7);
  });

  test('every gate step takes the next batch', async () => {
    const { probe, calls } = quadratic({ x: 1 });
    const options = {
      ...data,
      gateStart: 4,
      gateSteps: 3,
      gateLearningRate: 0.01,
      gateOptimizer: 'adam',
      penalty: 0,
    } as const;
    await learnGates(probe, ['x'], options);
    expect(calls.slice(-3)).toEqual(['batch 0', 'batch 1', 'batch 2']);
  });
});

describe('cheap scores', () => {
  // a = (0.5, −0.25), target 1: residual −0.75 at γ = 1.
  const options = { examples: 1, split: 'train', batches: 2 } as const;

  test('taylor is −∂L/∂γ at γ = 1', async () => {
    const { scores, loss } = await taylorScores(quadratic({ x: 0.5, y: -0.25 }).probe, ['x', 'y'], options);
    expect([scores.get('x'), scores.get('y'), loss]).toEqual([0.375, -0.1875, 0.28125]);
  });

  test('leave-one-out is what the loss rises by', async () => {
    const { scores } = await leaveOneOutScores(quadratic({ x: 0.5, y: -0.25 }).probe, ['x', 'y'], options);
    expect([scores.get('x'), scores.get('y')]).toEqual([0.5 * (1.25 ** 2 - 0.75 ** 2), 0.5 * (0.5 ** 2 - 0.75 ** 2)]);
  });
});

describe('stability', () => {
  const feed = (losses: number[]) => {
    const stability = new Stability({ window: 2, epsilon: 0.01, patience: 3 });
    return losses.map((loss) => {
      stability.push(loss);
      return stability.stable;
    });
  };

  test('is reached after `patience` windows that agree', () => {
    expect(feed([4, 4, 2, 2, 2, 2, 2, 2, 2.03, 2.03]).indexOf(true)).toBe(9);
  });

  test('a window that moves by ε or more, or is not a number, starts the count again', () => {
    expect(feed([4, 4, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3]).includes(true)).toBe(false);
    expect(feed([4, 4, 2, 2, 2, 2, 2, 2, Number.NaN, 3, 3, 3]).includes(true)).toBe(false);
  });
});

test('stage 1 trains all, stage 3 starts again without the least important modules', async () => {
  const { probe, calls } = model();
  const selector = ready({ warmup: 4, freeze: 0.4 });
  const sets = await run(selector, probe, 0, 10);
  const all = units.map((u) => u.id).join();
  expect(sets.slice(0, 4)).toEqual([all, all, all, all]);
  // 5 ranked, floor(5 · 0.4) = 2 frozen: 1.q and 0.q. Embedding and norms train along.
  expect(new Set(sets.slice(4))).toEqual(new Set(['embed,0.norm,0.up,1.norm,1.up,head']));
  expect(calls.filter((call) => call === 'restart')).toHaveLength(1);
});

test('restart: false goes on from where stage 1 ended', async () => {
  const { probe, calls } = model();
  await run(ready({ restart: false }), probe, 0, 10);
  expect(calls).not.toContain('restart');
});

test('after: rank trains all to the end and ranks after the last step', async () => {
  const { probe, calls } = model();
  const selector = ready({ after: 'rank' });
  const sets = await run(selector, probe, 0, 10, () => 1);
  expect(new Set(sets).size).toBe(1);
  expect(selector.importance()).toBeUndefined();
  await selector.probe?.(10, probe);
  expect(selector.importance()?.scores.size).toBe(5);
  expect(calls).not.toContain('restart');
});

test('stage 1 ends as soon as the loss is stable', async () => {
  const selector = ready({ window: 2, patience: 2, warmup: 0.9 }, 100);
  const sets = await run(selector, model().probe, 0, 20, () => 1);
  // Windows end after steps 2, 4 and 6; the second agreement is at 6.
  expect(sets.findIndex((set) => set !== sets[0])).toBe(6);
  expect(selector.report()).toMatchObject({ step: 6, stable: true });
});

test('the report says when the ranking came before stability, and what the gates shifted', async () => {
  const selector = ready();
  await run(selector, model().probe, 0, 6);
  const report = selector.report()!;
  expect(report).toMatchObject({ step: 5, stable: false });
  expect(report.loss).toBeCloseTo(0.5 * 0.57 ** 2, 12);
  expect(report.gatedLoss).toBeGreaterThan(report.loss);
  expect(report.spread).toBeGreaterThan(0);
});

test.each(['gates', 'taylor', 'leave-one-out'] as const)(
  '%s ranks the useful module first and the harmful one last',
  async (score) => {
    const selector = ready({ score });
    await run(selector, model().probe, 0, 6);
    const ranked = [...selector.importance()!.scores].sort(([, a], [, b]) => b - a).map(([id]) => id);
    expect([ranked[0], ranked[4]]).toEqual(['0.up', '1.q']);
  },
);

test('keep trains round(N · keep) of the ranked modules', async () => {
  const sets = await run(ready({ keep: 0.3 }), model().probe, 0, 10);
  expect(sets[9]!.split(',').filter((id) => !id.includes('norm') && id !== 'embed')).toHaveLength(2);
});

test.each([1, 4, 5, 8])('resuming at step %i selects what the uninterrupted run selects', async (at) => {
  const options = { window: 1, patience: 2, epsilon: 0.3, warmup: 8 };
  const loss = (step: number) => [8, 4, 2, 1, 0.5, 0.25][step] ?? 0.2;
  const whole = ready(options);
  const expected = await run(whole, model().probe, 0, 10, loss);
  const before = ready(options);
  await run(before, model().probe, 0, at, loss);
  const after = ready(options);
  after.restore(JSON.parse(JSON.stringify(before.state())) as Json);
  expect(await run(after, model().probe, at, 10, loss)).toEqual(expected.slice(at));
  expect(after.state()).toEqual(whole.state());
});

test('scores that are not numbers are refused', async () => {
  await expect(run(ready(), quadratic({ '0.q': Number.NaN }).probe, 0, 10)).rejects.toThrow(/nothing can be ranked/);
});

test('adapters at sublayer outputs are ranked like modules', async () => {
  const selector = ila({ warmup: 1 });
  selector.setup(context(4, [unit('0.attn', 0, 'attn_out'), unit('0.mlp', 0, 'mlp_out')]));
  await run(selector, quadratic({ '0.attn': 0.1, '0.mlp': 0.2 }).probe, 0, 3);
  expect(selector.importance()?.scores.size).toBe(2);
});

test.each<[IlaOptions, number, RegExp]>([
  [{ keep: 0.5, freeze: 0.5 }, 10, /give one of them/],
  [{ warmup: 10 }, 10, /none is left to tune. Lower warmup, or rank only/],
  [{ warmup: 2.5 }, 10, /neither a share/],
  [{ gateStep: 3 } as IlaOptions, 10, /did you mean "gateSteps"/],
])('%j in %i steps is refused with its remedy', (options, steps, message) => {
  expect(() => ready(options, steps)).toThrow(message);
});

test('a model without linear modules to rank is refused', () => {
  expect(() => ila().setup(context(10, units.slice(0, 2)))).toThrow(/none of the 2 trainable modules/);
});

test('the plugin makes the selector that its name says', () => {
  expect(plugin.create({}).name).toBe(plugin.name);
  expect(ila().options).toEqual({ ...plugin.options.parse({}), freeze: 0.25 });
});
