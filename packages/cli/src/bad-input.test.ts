import { copyFileSync, cpSync, existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { lft, SMALL_RUN, workspace } from './__fixtures__/workspace.js';

const here = workspace();
const train = (...flags: string[]) => lft('train', ...SMALL_RUN, '--steps', '1', '--out', 'runs/bad', ...flags);

/** A command that must fail: exit code 1, nothing on stdout, one line on stderr. */
function line({ code, stdout, stderr }: Awaited<ReturnType<typeof lft>>): string {
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^error: [^\n]*\n$/);
  return stderr.slice('error: '.length, -1);
}

describe('flags', () => {
  test.each<[flags: string[], message: RegExp]>([
    [['--stps', '3'], /^unknown option '--stps'; did you mean --steps\?$/],
    [['--steps', 'many'], /^--steps takes integer, not "many"$/],
    [['--steps', '0'], /^--steps takes integer, not "0" \(.*>0\)$/],
    [['--schedule', 'cosin'], /^--schedule takes constant\|linear\|cosine, not "cosin"; did you mean "cosine"\?$/],
    [['--template', 'alpac'], /^--template takes .*; did you mean "alpaca"\?$/],
    [['--weights', 'bf8'], /^--weights takes auto\|f32\|bf16\|int8\|nf4, not "bf8"; did you mean "bf16"\?$/],
    [['--adapter.rnk', '3'], /^--adapter\.rnk: adapter lora has no option "rnk"; did you mean --adapter\.rank\?/],
    [['--adapter.rank', 'big'], /^--adapter\.rank takes integer, not "big"$/],
    [['--adaptr.rank', '3'], /^unknown option --adaptr\.rank; did you mean --adapter\.rank\?$/],
    [['--data.limt', '3'], /unknown option "limt": did you mean "limit"\?/],
    // Without its package, or within reach of it but not of a card.
    [['--backend', 'webgpu'], /^backend "webgpu"(: .* npm i webgpu| is not installed: npm i @lft\/backend-webgpu)/],
    [['--config', 'absent.config.ts'], /^absent\.config\.ts: there is no such config file/],
  ])('%j', async (flags, message) => {
    expect(line(await train(...flags))).toMatch(message);
    expect(existsSync('runs/bad')).toBe(false);
  });

  (process.env.LFT_TENSORFLOW ? test.skip : test)('a backend whose own package is missing', async () => {
    expect(line(await train('--backend', 'tensorflow'))).toBe(
      'backend "tensorflow": @tensorflow/tfjs-node is not installed: npm i @tensorflow/tfjs-node@4.22.0 --ignore-scripts, then lft setup tensorflow',
    );
  });

  test.each<[args: string[], message: RegExp]>([
    [['tensorflw'], /^there is nothing to set up for "tensorflw"/],
    [[], /^missing required argument 'backend'$/],
    [['tensorflow', '--library', 'nowhere'], /tfjs-node is not installed in|holds no TensorFlow library/],
  ])('setup %j', async (args, message) => {
    expect(line({ ...(await lft('setup', ...args)), stdout: '' })).toMatch(message);
  });

  test('a command that is misspelt', async () => {
    expect(line(await lft('trian'))).toBe("unknown command 'trian'; did you mean train?");
  });

  test('with --json the error is an object', async () => {
    const { code, stdout, stderr } = await train('--adapter.rank', 'big', '--json');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(JSON.parse(stderr)).toEqual({
      error: { code: 'options-invalid', message: '--adapter.rank takes integer, not "big"' },
    });
  });
});

describe('plugins', () => {
  test('an unknown one: what was tried, and the nearest', async () => {
    expect(line(await train('--selector', 'isst'))).toMatch(
      /^selector "isst" was not found; did you mean "ist"\? Tried: @lft\/isst, lft-selector-isst, isst\. There is: .*npm i lft-selector-isst/,
    );
  });

  test('a selector that ranks nothing, asked for a ranking', async () => {
    const result = await lft('rank', ...SMALL_RUN, '--steps', '1', '--selector', 'fixed', '--selector.last', '2');
    expect(line(result)).toMatch(/^selector fixed ranks nothing/);
  });

  test('a path that is not there', async () => {
    expect(line(await train('--selector', './mine.js'))).toMatch(
      /^selector "\.\/mine\.js" was not found\..*path of a \.js file/,
    );
  });
});

describe('model, adapter and data', () => {
  test('a missing model', async () => {
    expect(line(await train('--model', 'models/absent'))).toMatch(/^models\/absent: there is no such folder/);
  });

  test('no model at all', async () => {
    expect(line(await lft('train', '--data', 'text.txt'))).toBe(
      'the model is missing: give --model FOLDER, or model in lft.config.ts',
    );
  });

  test('an unknown architecture', async () => {
    cpSync(here.repository('models/stories260K'), 'mamba', { recursive: true });
    const config = JSON.parse(readFileSync('mamba/config.json', 'utf8'));
    writeFileSync('mamba/config.json', JSON.stringify({ ...config, model_type: 'mamba' }));
    expect(line(await train('--model', 'mamba'))).toMatch(
      /mamba\/config\.json: model type "mamba" is not known; there is llama/,
    );
  });

  test('truncated weights', async () => {
    cpSync(here.repository('models/stories260K'), 'torn', { recursive: true });
    truncateSync('torn/model.safetensors', 500_000);
    expect(line(await train('--model', 'torn'))).toMatch(
      /^torn\/model\.safetensors: .*(truncated|incomplete|ends|bytes)/,
    );
  });

  test('a misspelt target', async () => {
    expect(line(await train('--adapter.targets', 'q_prj'))).toMatch(/"q_prj": did you mean "q_proj"\?/);
  });

  test('a rank that is too large', async () => {
    expect(line(await train('--adapter.rank', '640'))).toMatch(/^rank 640 is larger than q_proj allows/);
  });

  test('a bad row: file and line', async () => {
    here.write('bad.jsonl', '{"instruction":"a","output":"b"}\n{"instruction":"a","outptu":"b"}\n');
    expect(line(await train('--data', 'bad.jsonl', '--max-length', '512'))).toMatch(/^bad\.jsonl:2: .*"output"/);
  });

  test('missing data', async () => {
    expect(line(await train('--data', 'absent.jsonl'))).toMatch(/^there is no data file absent\.jsonl/);
  });

  test('an adapter of another base model', async () => {
    const adapter = here.repository('fixtures/llama-mha-tied.lora');
    const result = await lft('generate', '--model', 'models/stories260K', '--adapter', adapter, '--prompt', 'a');
    expect(line(result)).toMatch(/an adapter of another base model\?/);
  });

  test('a folder that holds no adapter', async () => {
    expect(line(await lft('generate', '--adapter', 'models', '--prompt', 'a'))).toMatch(
      /^models: there is neither adapter_config\.json nor adapter\.json/,
    );
  });
});

describe('output and resume', () => {
  test('a folder that cannot be written', async () => {
    expect(line(await train('--out', 'text.txt/run'))).toMatch(/^text\.txt\/run cannot be written: /);
  });

  test('a folder that holds a run, and its resume with other options', async () => {
    expect((await train('--out', 'runs/one')).code).toBe(0);
    expect(line(await train('--out', 'runs/one'))).toBe(
      'runs/one holds a run already. Go on with it: lft train --resume --out runs/one, or give another --out. Nothing was changed.',
    );
    expect(line(await lft('train', '--resume', '--out', 'runs/one', '--optimizer.learningRate', '0.5'))).toMatch(
      /^the run in runs\/one was started with other options: optimizer\.options\.learningRate was 0\.0002 and is 0\.5\./,
    );
    expect(await lft('train', '--resume', '--out', 'runs/one')).toMatchObject({ code: 0, stderr: '' });
  });

  test('resume without a run', async () => {
    expect(line(await lft('train', '--resume', '--out', 'runs/absent'))).toMatch(
      /^runs\/absent holds no run that lft started/,
    );
    expect(line(await lft('train', '--resume'))).toBe('--resume needs the folder of the run: give --out DIR');
  });

  test('merge into a folder that is not empty', async () => {
    copyFileSync('text.txt', 'runs/text.txt');
    expect(line(await lft('merge', '--adapter', 'runs/one', '--out', 'runs'))).toMatch(/^runs is not empty/);
  });
});
