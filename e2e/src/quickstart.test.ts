import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { AdaptedModel, loadModel, mergeIntoFolder, useBackend } from '@lft/core';
import { loadLora } from '@lft/lora';
import { succeed } from './command.js';
import { repository, temporaryFolder } from './repository.js';

const MODEL = path.join(repository, 'models/stories260K');
const IDS = [[1, 403, 407, 261, 378, 298, 400, 311]];

/** What PEFT and transformers compute with the adapter, and transformers with the merged folder: logits of every position. */
const JUDGE = `
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, merged, ids = sys.argv[1], sys.argv[2], sys.argv[3], torch.tensor(json.loads(sys.argv[4]))
load = lambda folder: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
with torch.no_grad():
    print(json.dumps({
        "adapter": PeftModel.from_pretrained(load(base), adapter).eval()(input_ids=ids).logits.tolist(),
        "merged": load(merged).eval()(input_ids=ids).logits.tolist(),
    }))
`;

describe('the quickstart program', () => {
  const out = path.join(temporaryFolder(), 'run');
  let output = '';
  beforeAll(() => {
    output = succeed(
      process.execPath,
      [path.join(repository, 'examples/quickstart/dist/main.js'), '--steps', '24', '--out', out],
      repository,
    );
  });

  test('shows text before and after, the losses, the ranking, and where things lie', () => {
    expect(output.match(/It writes:/g)).toHaveLength(2);
    expect(output).toContain('Which layers mattered');
    for (const block of [0, 1, 2, 3, 4]) expect(output).toContain(`model.layers.${block}`);
    expect(output).toMatch(/adapter +.*adapter/);
    expect(output).toMatch(/report +.*report\.html/);
  });

  test('the loss on held-out text falls by a quarter within 24 steps', () => {
    const lines = readFileSync(path.join(out, 'metrics.jsonl'), 'utf8').trim().split('\n');
    const held = lines.map((line) => JSON.parse(line)).filter((line) => line.validationLoss !== undefined);
    expect(held[0].step).toBe(0);
    expect(held.at(-1).step).toBe(24);
    expect(held.at(-1).validationLoss).toBeLessThan(0.75 * held[0].validationLoss);
  });

  test('the report is one file that draws and needs no network', () => {
    const html = readFileSync(path.join(out, 'report.html'), 'utf8');
    expect(html).toContain('<svg');
    expect(html).not.toMatch(/(src|href)="https?:/);
  });

  const judge = process.env.LFT_JUDGE_PYTHON;
  (judge ? test : test.skip)(
    'PEFT loads the adapter, and transformers the merged model, and both give the same logits to 1e-4',
    async () => {
      await useBackend('wasm');
      const model = await loadModel(MODEL);
      const adapter = path.join(out, 'adapter');
      const adapted = new AdaptedModel(model, await loadLora(adapter));
      const ours = ((await adapted.logits(IDS).array()) as number[][][]).flat(2);
      const merged = path.join(out, 'merged');
      await mergeIntoFolder(adapted, merged);
      const theirs = JSON.parse(
        execFileSync(judge!, ['-c', JUDGE, MODEL, adapter, merged, JSON.stringify(IDS)], {
          encoding: 'utf8',
          maxBuffer: 1 << 26,
        }),
      ) as { adapter: number[][][]; merged: number[][][] };
      for (const logits of [theirs.adapter, theirs.merged]) {
        for (const [i, value] of logits.flat(2).entries()) expect(Math.abs(value - ours[i]!)).toBeLessThan(1e-4);
      }
      await model.dispose();
    },
  );
});
