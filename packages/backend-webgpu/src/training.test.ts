import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { useWebGpu } from './use-webgpu.js';

const fixtures = path.join(__dirname, '../../../fixtures');
const NAME = 'llama-mha-tied.lora';
const program = path.join(__dirname, '__fixtures__/train.mjs');

/** A card in software: SwiftShader with a Vulkan loader, as Chromium brings both. A machine with a card of its own needs neither. */
const software = process.env.LFT_SWIFTSHADER;
const card = software
  ? { VK_ICD_FILENAMES: path.join(software, 'vk_swiftshader_icd.json'), LD_LIBRARY_PATH: software }
  : {};

const run = (backend: string, env: Record<string, string> = {}) => {
  if (!existsSync(path.join(__dirname, '../dist/index.js'))) throw new Error('build the package first');
  return execFileSync(process.execPath, [program, backend, NAME], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
};

interface Outcome {
  readonly losses: number[];
  readonly norms: Record<string, number>;
  readonly live: number[];
  readonly tokens: number[];
}

/** The reference errs by up to 5e-6 (see fixtures/README.md); f32 in another order by as much. */
const TOLERANCE = 1e-4;
const relative = (actual: number, expected: number) => Math.abs(actual - expected) / Math.abs(expected);

function whereInstalled(name: string, tests: () => void): void {
  if (process.env.LFT_WEBGPU) describe(name, tests);
  else describe.skip(`${name} (skipped: LFT_WEBGPU names a folder with the packages; .ci/run makes one)`, tests);
}

whereInstalled('on a card', () => {
  let outcome: Outcome;
  beforeAll(() => {
    outcome = JSON.parse(run('webgpu', card)) as Outcome;
  });

  test('losses and gradient norms of a LoRA run are those of PEFT to 1e-4', () => {
    const fixture = JSON.parse(readFileSync(path.join(fixtures, NAME, 'fixture.json'), 'utf8')) as {
      losses: number[];
      grad_norms_step0: Record<string, number>;
    };
    for (const [step, loss] of outcome.losses.entries()) {
      expect(relative(loss, fixture.losses[step]!)).toBeLessThan(TOLERANCE);
    }
    const norms = Object.entries(outcome.norms);
    expect(norms).toHaveLength(Object.keys(fixture.grad_norms_step0).length);
    for (const [id, norm] of norms) {
      // PEFT's names in memory carry its prefix and the name of the adapter.
      const name = `base_model.model.${id.replace(/\.weight$/, '.default.weight')}`;
      expect(relative(norm, fixture.grad_norms_step0[name]!)).toBeLessThan(TOLERANCE);
    }
  });

  test('it continues a prompt as the CPU does, and leaves as many tensors after every step', () => {
    expect(outcome.tokens).toEqual((JSON.parse(run('cpu')) as Outcome).tokens);
    expect(outcome.live).toHaveLength(2);
    expect(new Set(outcome.live).size).toBe(1);
  });

  test('without a driver the error says what is needed', () => {
    expect(() => run('webgpu', { VK_ICD_FILENAMES: '/nowhere', DISPLAY: '' })).toThrow(
      /backend "webgpu": no card that WebGPU can use was found: it needs a driver for Vulkan/,
    );
  });
});

describe('without the packages', () => {
  const here = process.cwd();
  const { LFT_WEBGPU } = process.env;
  const folder = mkdtempSync(path.join(tmpdir(), 'lft-webgpu-'));
  beforeAll(() => {
    delete process.env.LFT_WEBGPU;
    process.chdir(folder);
  });
  afterAll(() => {
    process.chdir(here);
    if (LFT_WEBGPU) process.env.LFT_WEBGPU = LFT_WEBGPU;
    rmSync(folder, { recursive: true, force: true });
  });

  test('the error says how to get them', async () => {
    await expect(useWebGpu()).rejects.toMatchObject({
      code: 'backend-unavailable',
      message:
        'backend "webgpu": webgpu and @tensorflow/tfjs-backend-webgpu@4.22.0 are not installed: npm i webgpu @tensorflow/tfjs-backend-webgpu@4.22.0',
    });
  });

  test('a preference that is none', async () => {
    await expect(useWebGpu({ powerPreference: 'fast' as 'low-power' })).rejects.toMatchObject({
      code: 'options-invalid',
    });
  });
});
