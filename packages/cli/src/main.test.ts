import { existsSync } from 'node:fs';
import { events, lft, SMALL_RUN, workspace } from './__fixtures__/workspace.js';

const here = workspace();

describe('help and version', () => {
  test('--version prints the version of the package', async () => {
    expect(await lft('--version')).toEqual({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), stderr: '' });
  });

  test('without arguments the help lists every command', async () => {
    const { code, stdout } = await lft();
    expect(code).toBe(0);
    for (const name of ['train', 'rank', 'generate', 'merge', 'inspect', 'doctor', 'setup'])
      expect(stdout).toContain(`  ${name} `);
  });

  test.each(['train', 'rank', 'generate', 'merge', 'inspect', 'doctor', 'setup'])(
    'the help of %s has examples and fits in 80 columns',
    async (name) => {
      const { code, stdout } = await lft(name, '--help');
      expect(code).toBe(0);
      expect(stdout).toContain(`Examples:\n  lft ${name}`);
      const options = stdout.slice(0, stdout.indexOf('\nExamples:')).split('\n');
      expect(options.filter((line) => line.length > 80)).toEqual([]);
      expect(await lft('help', name)).toEqual({ code, stdout, stderr: '' });
    },
  );

  test('the help of train shows training options and the options of the plugins named', async () => {
    const { stdout } = await lft('train', '--help', '--selector', 'ist');
    expect(stdout).toMatch(/--batch-size <integer> +examples in one pass \(8\)/);
    expect(stdout).toMatch(/--selector\.interval <integer> +T_i: steps between two importance rounds\s+\(10\)/);
    expect(stdout).toMatch(/--adapter\.rank <integer>/);
    expect(stdout).toMatch(/--optimizer\.learningRate <number> +peak learning rate/);
  });
});

describe('train', () => {
  test('trains, tells what it does, and leaves adapter, ranking and report', async () => {
    const { code, stdout, stderr } = await lft(
      'train',
      ...SMALL_RUN,
      ...['--adapter', 'lora', '--adapter.rank', '4', '--adapter.targets', 'q_proj,v_proj'],
      ...['--selector', 'ist', '--selector.active=2', '--selector.interval', '3', '--selector.examples', '2'],
      ...['--optimizer.learning-rate', '1e-3', '--steps', '6', '--seed', '3', '--out', 'runs/first'],
      ...['--sample', 'ROMEO:', '--sample-tokens', '5'],
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/adapter +lora, rank 4, targets q_proj,v_proj/);
    expect(stdout).toMatch(/selector +ist over 5 units \(block\), active 2/);
    expect(stdout).toMatch(/steps +6 of 2 examples; adamw, learning rate 0\.001/);
    expect(stdout).toMatch(/step 6\/6 {2}loss \d+\.\d{3} {2}[\d,.]+ tokens\/s/);
    expect(stdout).toMatch(/held-out loss +\d\.\d{3} +\d\.\d{3} +[−+][\d.]+ %/);
    expect(stdout).toMatch(/Layers by importance \(ist\)[\s\S]* 1 {2}model\.layers\.\d /);
    expect(stdout).toMatch(/prompt +ROMEO:/);
    for (const name of ['adapter/adapter_config.json', 'importance.json', 'report.html', 'lft.json']) {
      expect([name, existsSync(`runs/first/${name}`)]).toEqual([name, true]);
    }
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(JSON.parse(String(here.read('runs/first/config.json')))).toMatchObject({
      adapter: { name: 'lora', options: { rank: 4, targets: ['q_proj', 'v_proj'] } },
      selector: { name: 'ist', options: { active: 2, interval: 3 } },
      optimizer: { options: { learningRate: 1e-3 } },
      training: { steps: 6, batchSize: 2, maxLength: 32, seed: 3 },
    });
  });

  test('--json prints events, one a line, and nothing else', async () => {
    const { code, stdout, stderr } = await lft('train', ...SMALL_RUN, '--steps', '2', '--json', '--out', 'runs/json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const kinds = events(stdout).map(({ kind }) => kind);
    expect(kinds[0]).toBe('start');
    expect(kinds.filter((kind) => kind === 'step')).toHaveLength(2);
    expect(events(stdout).at(-1)).toMatchObject({
      kind: 'done',
      steps: 2,
      adapter: 'runs/json/adapter',
      importance: null,
    });
  });

  test('the same flags give the same adapter', async () => {
    for (const out of ['runs/same-1', 'runs/same-2']) {
      expect((await lft('train', ...SMALL_RUN, '--steps', '2', '--out', out)).code).toBe(0);
    }
    const file = 'adapter/adapter_model.safetensors';
    expect(here.read(`runs/same-1/${file}`).equals(here.read(`runs/same-2/${file}`))).toBe(true);
  });

  test('without --out the run folder is named after model, adapter and selector, and numbered', async () => {
    const flags = [...SMALL_RUN, '--steps', '1', '--selector', 'lisa', '--selector.interval', '{"fraction":0.5}'];
    expect((await lft('train', ...flags)).code).toBe(0);
    expect((await lft('train', ...flags)).code).toBe(0);
    expect(existsSync('runs/stories260K-lora-lisa/report.html')).toBe(true);
    expect(existsSync('runs/stories260K-lora-lisa-2/report.html')).toBe(true);
  });

  test('full fine-tuning of the last blocks', async () => {
    const flags = ['--adapter', 'full', '--selector', 'fixed', '--selector.last', '2', '--selector.outside', 'freeze'];
    const { code, stdout } = await lft('train', ...SMALL_RUN, ...flags, '--steps', '1', '--out', 'runs/full', '--json');
    expect(code).toBe(0);
    expect(events(stdout).find(({ kind }) => kind === 'step')).toMatchObject({
      active: ['model.layers.3', 'model.layers.4'],
    });
  });

  test('instruction rows through a template', async () => {
    const rows = Array.from({ length: 8 }, (_, i) => ({ instruction: `Name ${i} cats.`, output: 'Tom, and so on.' }));
    here.write('rows.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const { code, stdout } = await lft(
      'train',
      ...['--model', 'models/stories260K', '--data', 'rows.jsonl', '--data.validation', '0.25', '--data.limit', '4'],
      ...['--steps', '1', '--batch-size', '1', '--out', 'runs/rows'],
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/3 rows of rows\.jsonl, template alpaca; 1 held out/);
  });
});

describe('what comes after', () => {
  test('generate continues a prompt with a saved adapter, whose model it knows', async () => {
    const { code, stdout } = await lft(
      'generate',
      '--adapter',
      'runs/first',
      '--prompt',
      'Once upon',
      '--max-new-tokens',
      '8',
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Once upon .+\n$/);
  });

  test('generate --json gives the text, the same for the same seed', async () => {
    const flags = [
      '--model',
      'models/stories260K',
      '--prompt',
      'Once',
      '--temperature',
      '1',
      '--top-p',
      '0.9',
      '--json',
    ];
    const first = await lft('generate', ...flags, '--max-new-tokens', '6', '--seed', '5');
    expect(events(first.stdout)).toEqual([{ text: expect.any(String), tokens: 6, promptTokens: expect.any(Number) }]);
    expect(await lft('generate', ...flags, '--max-new-tokens', '6', '--seed', '5')).toEqual(first);
  });

  test('a merged model says what the adapter said', async () => {
    expect(await lft('merge', '--adapter', 'runs/first', '--out', 'merged')).toMatchObject({ code: 0, stderr: '' });
    const flags = ['--prompt', 'The king', '--max-new-tokens', '8'];
    const adapted = await lft('generate', '--adapter', 'runs/first/adapter', ...flags);
    expect(await lft('generate', '--model', 'merged', ...flags)).toEqual(adapted);
  });

  test('rank trains all modules and ranks them', async () => {
    const { code, stdout } = await lft(
      'rank',
      ...SMALL_RUN,
      ...['--steps', '2', '--adapter.targets', 'all-linear', '--selector.gateSteps', '2', '--selector.batches', '1'],
      ...['--selector.examples', '2', '--out', 'runs/rank'],
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/Layers by importance \(ila\)/);
    expect(stdout).toMatch(/^ +35 {2}model\.layers\./m);
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
  });

  test('a ranking decides what the next run trains', async () => {
    const selector = ['--selector.importance', 'runs/rank/importance.json', '--selector.keep', '0.2'];
    const flags = ['--adapter.targets', 'all-linear', '--selector', 'fixed', ...selector, '--steps', '1'];
    const { code, stdout } = await lft('train', ...SMALL_RUN, ...flags, '--out', 'runs/kept', '--json');
    expect(code).toBe(0);
    expect(events(stdout).find(({ kind }) => kind === 'step')).toMatchObject({ active: { length: 7 } });
  });

  test.each([
    ['models/stories260K', /values +260,032, stored as F32[\s\S]*model\.layers\.N\.mlp\.up_proj +172 × 64 +5 +55,040/],
    ['runs/first', /steps +6 of 6[\s\S]*Layers by importance \(ist\)/],
    ['runs/first/adapter', /format +LORA[\s\S]*rank +4[\s\S]*targets +q_proj, v_proj/],
    ['runs/rank/importance.json', /method +ila, by module/],
  ])('inspect %s', async (target, text) => {
    const { code, stdout } = await lft('inspect', target);
    expect(code).toBe(0);
    expect(stdout).toMatch(text);
    expect(events((await lft('inspect', target, '--json')).stdout)).toHaveLength(1);
  });

  test('doctor computes a product and a gradient on the backends that are there', async () => {
    const { code, stdout } = await lft('doctor');
    expect(code).toBe(0);
    expect(stdout).toMatch(/✓ {2}wasm +works/);
    expect(stdout).toMatch(/✓ {2}cpu +works/);
    if (!process.env.LFT_TENSORFLOW) expect(stdout).toMatch(/tfjs-node is not installed.*lft setup tensorflow/);
    expect(stdout).toMatch(/✓ {2}selector ist/);
  });
});
