import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AdaptedModel, type CausalModel, loadModel, useBackend } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { type LoraOptions, loadLora, lora } from './index.js';

/** A Python with torch, transformers and peft. Without it PEFT itself cannot be asked. */
const python = process.env.LFT_JUDGE_PYTHON;
const fixtures = path.join(__dirname, '../../../fixtures');
const ids = [[1, 93, 94, 38, 18, 88, 12, 27]];

interface Judgement {
  logits: number[][][];
  merged: number[][][];
  adapted: string[];
  /** Complaints about modules for which the file has no tensors. */
  missing: string[];
}

(python ? describe : describe.skip)('PEFT loads what is written here', () => {
  let base: CausalModel;
  let folder: string;

  beforeAll(() => useBackend('cpu'));
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'judge-'));
  });
  afterEach(async () => {
    await base.dispose();
    await rm(folder, { recursive: true });
  });

  function judge(source: string, adapter: string, saveTo: string): Judgement {
    const script = path.join(__dirname, '__fixtures__/judge.py');
    const args = [script, source, adapter, JSON.stringify(ids), saveTo];
    return JSON.parse(
      execFileSync(python!, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }),
    ) as Judgement;
  }

  // init random: with B zero an adapter that was lost could not be told from one that is there.
  test.each<[string, string, LoraOptions, number]>([
    ['names', 'llama-gqa-rope3', { alpha: 8, targets: ['q_proj', 'k_proj', 'down_proj'] }, 9],
    ['all-linear, rsLoRA', 'llama-gqa-rope3', { targets: 'all-linear', rsLora: true }, 21],
    ['an expression', 'llama-gqa-rope3', { targets: '.*\\.(0|2)\\..*(up|v)_proj' }, 4],
    ['blocks', 'llama-gqa-rope3', { targets: ['o_proj', 'up_proj'], blocks: [1] }, 2],
    ['full paths', 'llama-gqa-rope3', { targets: ['model.layers.1.mlp.up_proj', 'lm_head'] }, 2],
    [
      'ranks and alphas by module, exclude',
      'llama-gqa-rope3',
      {
        targets: ['q_proj', 'up_proj'],
        exclude: ['layers.2.mlp.up_proj'],
        rankPattern: { 'layers\\.1\\.mlp\\.up_proj': 5, up_proj: 2 },
        alphaPattern: { '.*layers\\.0\\..*': 3 },
      },
      5,
    ],
    ['an embedding', 'llama-gqa-rope3', { targets: ['embed_tokens', 'q_proj'] }, 4],
    ['modules to save', 'llama-gqa-rope3', { modulesToSave: ['lm_head', 'model.norm'] }, 6],
    ['a tied head', 'llama-mha-tied', {}, 4],
    ['a tied head to save', 'llama-mha-tied', { modulesToSave: ['lm_head'] }, 4],
  ])('%s: the same modules, the same logits, and back', async (_what, name, options, modules) => {
    const source = path.join(fixtures, name);
    base = await loadModel(source);
    const adapted = new AdaptedModel(base, lora({ rank: 4, init: 'random', ...options }));
    // Modules to save start as the frozen ones: move them, so that PEFT shows that it reads them.
    for (const { name, variable } of adapted.parameters) {
      if (!name.includes('.lora_')) variable.assign(tf.mul(variable, 1.1));
    }
    const ours = adapted.logits(ids).arraySync() as number[][][];
    await adapted.adapter.format!.write(folder, adapted.attachments, base.info);

    const resaved = path.join(folder, 'resaved');
    const { logits, merged, adapted: paths, missing } = judge(source, folder, resaved);
    expect(missing).toEqual([]);
    expect(paths).toHaveLength(modules);
    expect(largestDifference(ours, logits)).toBeLessThan(1e-4);
    expect(largestDifference(ours, merged)).toBeLessThan(1e-4);

    // PEFT's own copy of it, read back.
    const again = new AdaptedModel(base, await loadLora(resaved));
    expect(largestDifference(again.logits(ids).arraySync() as number[][][], ours)).toBeLessThan(1e-4);
    const files = [folder, resaved].map((at) => readFile(path.join(at, 'adapter_config.json'), 'utf8'));
    const [written, rewritten] = (await Promise.all(files)).map((text) => JSON.parse(text) as Record<string, unknown>);
    expect(Object.keys(written!)).toEqual(Object.keys(rewritten!));
    adapted.dispose();
    again.dispose();
  });
});

function largestDifference(ours: number[][][], theirs: number[][][]): number {
  const expected = theirs.flat(2);
  return Math.max(...ours.flat(2).map((value, i) => Math.abs(value - expected[i]!)));
}
