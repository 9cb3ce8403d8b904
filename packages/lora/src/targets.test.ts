import { LftError } from '@lft/core';
import { llamaSites, TINY } from './__fixtures__/llama-sites.js';
import { type LoraOptions, loraOptions } from './options.js';
import { checkTargets, strength, treatment } from './targets.js';

const sites = llamaSites(TINY);
const resolve = (options: LoraOptions) => loraOptions.parse(options);
const treated = (options: LoraOptions, kind: 'lora' | 'saved') => {
  const resolved = resolve(options);
  return sites.filter((site) => treatment(resolved, site) === kind).map((site) => site.path);
};

function refusal(options: LoraOptions): LftError {
  try {
    checkTargets(resolve(options), sites);
  } catch (error) {
    if (LftError.is(error)) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('which modules are adapted', () => {
  test.each<[string, LoraOptions, number, string[]]>([
    ['q and v by default', {}, 10, ['model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.v_proj']],
    ['a name fits the end of a path after a dot', { targets: ['proj'] }, 0, []],
    ['a longer end fits as well', { targets: ['mlp.up_proj'] }, 5, ['model.layers.0.mlp.up_proj']],
    ['a full path fits one module', { targets: ['model.layers.1.mlp.up_proj'] }, 1, ['model.layers.1.mlp.up_proj']],
    ['a name without dots can be the whole path', { targets: ['lm_head'] }, 1, ['lm_head']],
    ['list entries are not expressions', { targets: ['.*q_proj'] }, 0, []],
    ['an expression fits the whole path', { targets: '.*\\.[13]\\..*q_proj' }, 2, ['model.layers.1.self_attn.q_proj']],
    ['an expression does not fit a part', { targets: 'q_proj' }, 0, []],
    ['alternatives fit the whole path each', { targets: 'lm_head|q_proj' }, 1, ['lm_head']],
    [
      'all-linear leaves the head and the embedding',
      { targets: 'all-linear' },
      35,
      ['model.layers.0.self_attn.q_proj'],
    ],
    ['an embedding can be named', { targets: ['embed_tokens'] }, 1, ['model.embed_tokens']],
    [
      'exclude takes names out',
      { exclude: ['layers.0.self_attn.q_proj', 'v_proj'] },
      4,
      ['model.layers.1.self_attn.q_proj'],
    ],
    ['exclude takes an expression', { exclude: '.*\\.[0-3]\\..*' }, 2, ['model.layers.4.self_attn.q_proj']],
    ['blocks narrow names', { blocks: [0, 4] }, 4, ['model.layers.0.self_attn.q_proj']],
    [
      'a name outside the blocks goes when blocks are given',
      { targets: ['embed_tokens', 'q_proj'], blocks: [1] },
      1,
      ['model.layers.1.self_attn.q_proj'],
    ],
    [
      'blocks do not narrow full paths',
      { targets: ['lm_head', 'k_proj'], blocks: [2] },
      2,
      ['lm_head', 'model.layers.2.self_attn.k_proj'],
    ],
    [
      'blocks count in the list that is named',
      { blocks: [1], blockPattern: 'layers' },
      2,
      ['model.layers.1.self_attn.q_proj'],
    ],
    ['blocks in a list that is not there are none', { blocks: [1], blockPattern: ['h', 'stages'] }, 0, []],
    [
      'modules to save are not adapted',
      { targets: ['lm_head', 'q_proj'], modulesToSave: ['lm_head'] },
      5,
      ['model.layers.0.self_attn.q_proj'],
    ],
  ])('%s', (_law, options, count, first) => {
    const paths = treated(options, 'lora');
    expect(paths).toHaveLength(count);
    expect(paths).toEqual(expect.arrayContaining(first));
  });

  test('experts: a block is counted by the first number of a path', () => {
    const resolved = resolve({ targets: ['w1'], blocks: [2] });
    const expert = (path: string) => ({ path, kind: 'linear', role: 'up', in: 4, out: 4, bias: false }) as const;
    expect(treatment(resolved, expert('model.layers.2.experts.0.w1'))).toBe('lora');
    expect(treatment(resolved, expert('model.layers.0.experts.2.w1'))).toBeUndefined();
  });

  test('layers.1 does not fit layers.11', () => {
    const resolved = resolve({ targets: ['layers.1.up_proj'] });
    const site = { path: 'model.layers.11.up_proj', kind: 'linear', role: 'up', in: 4, out: 4, bias: false } as const;
    expect(treatment(resolved, site)).toBeUndefined();
  });

  test('a module to save fits by the end of its path, as in PEFT, and can be a norm', () => {
    expect(treated({ modulesToSave: ['embed_tokens', 'model.norm'] }, 'saved')).toEqual([
      'model.embed_tokens',
      'model.norm',
    ]);
    expect(treated({ modulesToSave: ['norm'] }, 'saved')).toHaveLength(11);
  });
});

describe('rank and alpha by module', () => {
  const options = resolve({
    rank: 4,
    alpha: 8,
    rankPattern: { 'layers\\.1\\.self_attn\\.q_proj': 2, q_proj: 3 },
    alphaPattern: { '.*\\.mlp\\..*': 1 },
  });
  test.each([
    ['model.layers.1.self_attn.q_proj', 2, 8],
    ['model.layers.11.self_attn.q_proj', 3, 8],
    ['model.layers.0.self_attn.my_q_proj', 4, 8],
    ['model.layers.0.mlp.up_proj', 4, 1],
  ])('%s has rank %i and alpha %i: the first pattern that fits the end of the path', (path, rank, alpha) => {
    expect(strength(options, path)).toEqual({ rank, alpha });
  });
});

describe('options that do not fit the model are refused', () => {
  test('a name that matches nothing, though another does, with the nearest name and what there is', () => {
    const error = refusal({ targets: ['v_proj', 'q_porj'] });
    expect(error.code).toBe('target-not-found');
    expect(error.message).toBe(
      'targets: no module matches "q_porj": did you mean "q_proj"? The model has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj in model.layers.0-4; model.embed_tokens; lm_head',
    );
  });

  test('an expression that should have been a list', () => {
    expect(refusal({ targets: 'q_proj' }).message).toContain('for a name give a list: ["q_proj"]');
  });

  test('a norm as target, with the remedy', () => {
    expect(refusal({ targets: ['model.norm'] }).message).toContain('name it in modulesToSave');
  });

  test.each<[string, LoraOptions]>([
    ['exclude', { exclude: ['kproj'] }],
    ['modulesToSave', { modulesToSave: ['head_lm'] }],
    ['rankPattern', { rankPattern: { k_proj: 2 } }],
    ['alphaPattern', { alphaPattern: { k_proj: 2 } }],
    ['blocks', { blocks: [0, 5] }],
    ['nothing is left', { exclude: ['q_proj', 'v_proj'] }],
    ['nothing is left', { targets: ['lm_head'], modulesToSave: ['lm_head'] }],
  ])('%s without a match', (where, options) => {
    const error = refusal({ rank: 2, ...options });
    expect(error.code).toBe('target-not-found');
    expect(error.message).toMatch(new RegExp(`^${where}`));
  });

  test('a rank that is larger than a module allows', () => {
    const error = refusal({ rank: 8, targets: ['q_proj', 'k_proj'] });
    expect(error.code).toBe('rank-too-large');
    expect(error.message).toBe(
      'rank 8 is larger than k_proj allows (min(in 8, out 4) = 4, at model.layers.0.self_attn.k_proj): lower rank, or give it a rank of its own with rankPattern: { k_proj: 4 }',
    );
    expect(error.facts).toEqual({ path: 'model.layers.0.self_attn.k_proj', rank: 8, in: 8, out: 4 });
  });

  test('a rank of its own makes it fit', () => {
    const options = resolve({ rank: 8, targets: ['q_proj', 'k_proj'], rankPattern: { k_proj: 4 } });
    expect(() => checkTargets(options, sites)).not.toThrow();
  });
});
