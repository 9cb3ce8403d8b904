import type { Importance } from '../contracts/importance.js';
import type { Json } from '../contracts/json.js';
import type { LayerSelector, SelectorContext } from '../contracts/layer-selector.js';
import type { LayerUnit } from '../contracts/layer-unit.js';
import type { ModuleRole } from '../contracts/module-site.js';
import type { Probe } from '../contracts/probe.js';
import { keyedRandom } from '../random/keyed-random.js';
import { fixed } from './fixed.js';
import { intersect } from './intersect.js';
import { pin } from './pin.js';
import { schedule } from './schedule.js';

const unit = (id: string, block?: number, role: ModuleRole | 'block' = 'block'): LayerUnit => ({
  id,
  block,
  role,
  sites: [],
  parameters: [],
  size: 1,
});
const units = [
  unit('model.embed_tokens', undefined, 'embed'),
  ...Array.from({ length: 4 }, (_, i) => unit(`b${i}`, i)),
  unit('lm_head', undefined, 'head'),
];
const context = (steps = 10): SelectorContext => ({
  units,
  blocks: 4,
  steps,
  random: (purpose, ...keys) => keyedRandom(5, purpose, ...keys),
});

/** Selects one drawn block, and writes down every call. */
function recorder(name: string, calls: string[] = []): LayerSelector & { readonly calls: string[] } {
  let at: SelectorContext;
  let seen = 0;
  return {
    calls,
    name,
    options: {},
    granularity: 'block',
    optimizerState: 'reset',
    setup(given) {
      at = given;
      calls.push(`setup ${given.steps}`);
    },
    select(step) {
      calls.push(`select ${step}`);
      return new Set([`b${(at.random('select', step).integer(4) + seen) % 4}`]);
    },
    observe(event) {
      seen += event.step + 1;
    },
    async probe(step) {
      calls.push(`probe ${step}`);
    },
    importance: () => ({ method: name, granularity: 'block', scores: new Map([['b0', seen]]) }),
    state: () => ({ seen }),
    restore(state) {
      seen = (state as { seen: number }).seen;
    },
  };
}

const ranking = (scores: Record<string, number>, granularity: 'block' | 'module' = 'block'): Importance => ({
  method: 'ila',
  granularity,
  scores: new Map(Object.entries(scores)),
});

async function run(selector: LayerSelector, from: number, to: number): Promise<string[]> {
  const sets: string[] = [];
  for (let step = from; step < to; step++) {
    await selector.probe?.(step, {} as Probe);
    sets.push([...selector.select(step)].join());
    selector.observe?.({ step, loss: 1, gradientNorms: new Map(), parameterNorms: () => new Map() });
  }
  return sets;
}

describe('pin', () => {
  test('pinned ids and roles train besides', async () => {
    const selector = pin(fixed({ first: 1, outside: 'freeze' }), ['head', 'b3']);
    await selector.setup(context());
    expect([...selector.select(0)].sort()).toEqual(['b0', 'b3', 'lm_head']);
  });

  test('a name that is neither id nor role is refused', async () => {
    await expect(pin(fixed(), ['haed']).setup(context())).rejects.toThrow(/Did you mean head\?/);
  });

  test('the policy for the optimizer state is the inner one', () => {
    expect(pin(recorder('r'), []).optimizerState).toBe('reset');
    expect('optimizerState' in pin(fixed(), [])).toBe(false);
  });
});

describe('intersect', () => {
  const a = ranking({ b0: 4, b1: 3, b2: 2, b3: 1 });
  const b = ranking({ b0: 40, b1: 10, b2: 30, b3: 20 });

  test('only what all rankings put at the bottom is frozen', () => {
    const selector = intersect([a, b], { least: 2 });
    selector.setup(context());
    expect([...selector.select(0)]).toEqual(['model.embed_tokens', 'b0', 'b1', 'b2', 'lm_head']);
    expect(selector.options).toMatchObject({ agreed: true, frozen: ['b3'] });
  });

  test('its importance is the negated mean rank', () => {
    expect(Object.fromEntries(intersect([a, b], { least: 0.5 }).importance()!.scores)).toEqual({
      b0: -1,
      b1: -3,
      b2: -2.5,
      b3: -3.5,
    });
  });

  test('rankings that agree on nothing freeze the lowest mean rank, and it is said', () => {
    const selector = intersect([a, ranking({ b0: 1, b1: 2, b2: 3, b3: 4 }), a], { least: 1 });
    expect(selector.options).toMatchObject({ agreed: false, frozen: ['b3'] });
  });

  test('rankings that cannot be compared are refused', () => {
    expect(() => intersect([a, ranking({ 'b0.q': 1 }, 'module')], { least: 1 })).toThrow(/Aggregate them to blocks/);
    expect(() => intersect([a, ranking({ b0: 1, b9: 2 })], { least: 1 })).toThrow(
      /not rank the same units: b1, b2, b3, b9/,
    );
    expect(() => intersect([a], { least: 1 })).toThrow(/two or more/);
    expect(() => intersect([a, b], { least: 4 })).toThrow(/a count from 1 to 3/);
  });
});

describe('schedule', () => {
  const make = () => schedule([{ until: 4, selector: recorder('one') }, { selector: recorder('two') }]);

  test('each part sees its own steps, and a probe at its end', async () => {
    const one = recorder('one');
    const two = recorder('two');
    const selector = schedule([{ until: 2, selector: one }, { selector: two }]);
    await selector.setup(context(4));
    await run(selector, 0, 4);
    await selector.probe?.(4, {} as Probe);
    expect(one.calls).toEqual(['setup 2', 'probe 0', 'select 0', 'probe 1', 'select 1', 'probe 2']);
    expect(two.calls).toEqual(['setup 2', 'probe 0', 'select 0', 'probe 1', 'select 1', 'probe 2']);
  });

  test.each([1, 4, 7])('resuming at step %i selects what the uninterrupted run selects', async (at) => {
    const whole = make();
    await whole.setup(context());
    const expected = await run(whole, 0, 10);
    const before = make();
    await before.setup(context());
    await run(before, 0, at);
    const state = JSON.parse(JSON.stringify(before.state())) as Json;
    const after = make();
    await after.setup(context());
    after.restore(state);
    expect(await run(after, at, 10)).toEqual(expected.slice(at));
  });

  test('the importance is that of the current part', async () => {
    const selector = make();
    await selector.setup(context());
    await run(selector, 0, 3);
    expect(selector.importance()?.method).toBe('one');
    await run(selector, 3, 6);
    expect(selector.importance()?.method).toBe('two');
  });

  test('parts after the end of a short run are not used', async () => {
    const selector = make();
    await selector.setup(context(3));
    expect(await run(selector, 0, 3)).toHaveLength(3);
  });

  test('parts that do not fit together are refused', async () => {
    const modules = fixed({ granularity: 'module' });
    expect(() => schedule([{ until: 1, selector: fixed() }, { selector: modules }])).toThrow(
      /All parts need the same one/,
    );
    expect(() => schedule([{ selector: fixed() }, { selector: fixed() }])).toThrow(/a step after 0/);
    expect(() =>
      schedule([
        { until: 5, selector: fixed() },
        { until: 5, selector: fixed() },
      ]),
    ).toThrow(/a step after 5/);
    expect(() => schedule([])).toThrow(/no parts/);
    await expect(schedule([{ until: 5, selector: fixed() }]).setup(context())).rejects.toThrow(/Leave until out/);
  });

  test('it nests in pin', async () => {
    const selector = pin(make(), ['embed']);
    await selector.setup(context());
    expect((await run(selector, 0, 10)).every((set) => set.includes('model.embed_tokens'))).toBe(true);
    expect(selector.state()).toEqual({ selector: { current: 1, parts: [{ seen: 10 }, { seen: 21 }] } });
  });
});
