import { rmSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { lftProcess } from './__fixtures__/child.js';
import { events, SMALL_RUN, workspace } from './__fixtures__/workspace.js';

const here = workspace();
const STEPS = 16;

/** Runs a command and sends a signal when this step is done. */
function signalled(argv: readonly string[], step: number, signal: NodeJS.Signals) {
  let sent = false;
  return lftProcess([...argv, '--json'], (line, child) => {
    const event = JSON.parse(line) as { kind: string; step?: number };
    if (sent || event.kind !== 'step' || event.step !== step) return;
    sent = true;
    child.kill(signal);
  });
}

const COMBINATIONS = {
  'lora + ist': ['--adapter', 'lora', '--selector', 'ist', '--selector.interval', '3', '--selector.examples', '2'],
  'lora + lisa': ['--adapter', 'lora', '--adapter.dropout', '0.1', '--selector', 'lisa', '--selector.interval', '4'],
  'full + fixed': ['--adapter', 'full', '--selector', 'fixed', '--selector.last', '2'],
};

describe.each(Object.entries(COMBINATIONS))('%s', (name, flags) => {
  const folder = (kind: string) => path.join('runs', `${name.replaceAll(' ', '')}-${kind}`);
  const argv = (kind: string) => [
    ...['train', ...SMALL_RUN, ...flags, '--steps', String(STEPS), '--checkpoint-every', '4', '--evaluate-every', '6'],
    ...['--out', folder(kind)],
  ];
  const weights = name.startsWith('lora') ? 'adapter/adapter_model.safetensors' : 'adapter/adapter.safetensors';
  const outcome = (kind: string) => ({
    weights: here.read(path.join(folder(kind), weights)).toString('base64'),
    metrics: String(here.read(path.join(folder(kind), 'metrics.jsonl'))),
  });

  beforeAll(async () => {
    expect(await lftProcess(argv('whole'))).toMatchObject({ code: 0, stderr: '' });
  });

  test('killed at any step and resumed, it leaves the same bytes as uninterrupted', async () => {
    const step = Math.floor(Math.random() * 10);
    const killed = await signalled(argv('killed'), step, 'SIGKILL');
    expect({ step, signal: killed.signal }).toEqual({ step, signal: 'SIGKILL' });
    const resumed = await lftProcess(['train', '--resume', '--out', folder('killed')]);
    expect({ step, code: resumed.code, stderr: resumed.stderr }).toEqual({ step, code: 0, stderr: '' });
    expect({ step, ...outcome('killed') }).toEqual({ step, ...outcome('whole') });
  });

  test('Ctrl-C ends it after its step with a checkpoint, and the command that it prints goes on to the same bytes', async () => {
    const stopped = await signalled(argv('stopped'), 4, 'SIGINT');
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toMatch(/Stopping after this step/);
    const last = events(stopped.stdout).at(-1)!;
    expect(last).toEqual({
      kind: 'interrupted',
      steps: expect.any(Number),
      resume: `lft train --resume --out ${folder('stopped')}`,
    });
    expect(last.steps).toBeLessThan(STEPS);
    const resumed = await lftProcess((last.resume as string).split(' ').slice(1));
    expect(resumed).toMatchObject({ code: 0, stderr: '' });
    expect(resumed.stdout).toMatch(new RegExp(`goes on at\\s+step ${last.steps}\\b`));
    expect(outcome('stopped')).toEqual(outcome('whole'));
  });
});

test('without --json the interrupted run says how to go on', async () => {
  const argv = ['train', ...SMALL_RUN, '--steps', '5000', '--out', 'runs/text'];
  const { code, stdout } = await lftProcess(argv, (line, child) => {
    if (line.includes('held-out loss')) child.kill('SIGTERM');
  });
  expect(code).toBe(130);
  expect(stdout).toMatch(
    /Interrupted after \d+ steps?; a checkpoint is saved\. Go on with:\n\n {4}lft train --resume --out runs\/text\n$/,
  );
});

describe('config file', () => {
  afterAll(() => rmSync('lft.config.ts'));

  test('a typed file says what a run is; flags win, and a template that is a function survives a resume', async () => {
    const rows = Array.from({ length: 10 }, (_, i) => ({ question: `How many cats are ${i}?`, answer: `${i} cats.` }));
    here.write('rows.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    here.write(
      'lft.config.ts',
      `import { defineConfig } from '@lft/cli';

       interface Row { question?: unknown; answer?: unknown }

       export default defineConfig({
         model: 'models/stories260K',
         data: {
           file: 'rows.jsonl',
           template: ({ question, answer }: Row) => ({ prompt: \`Q: \${question} A: \`, response: String(answer) }),
           validation: 0.2,
         },
         adapter: { name: 'lora', rank: 2 },
         selector: { name: 'lisa', active: 1, interval: 2 },
         optimizer: { learningRate: 1e-3 },
         steps: 5000,
         batchSize: 2,
       });`,
    );
    const argv = ['train', '--steps', '4', '--adapter.rank', '4', '--selector', 'ist', '--out', 'runs/config'];
    expect(await lftProcess(argv)).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(String(here.read('runs/config/config.json')))).toMatchObject({
      data: { options: { validation: 0.2 } },
      adapter: { options: { rank: 4 } },
      // The file's options are LISA's: they go with its name.
      selector: { name: 'ist', options: { active: 0.25, interval: 10 } },
      optimizer: { options: { learningRate: 1e-3 } },
      training: { steps: 4, batchSize: 2 },
    });
    expect(await lftProcess(['train', '--resume', '--out', 'runs/config'])).toMatchObject({ code: 0, stderr: '' });
  });

  test('an unknown key is named, with the nearest', async () => {
    here.write('bad.config.mjs', 'export default { batchsize: 3 };');
    const { code, stderr } = await lftProcess(['train', '--config', 'bad.config.mjs']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: bad\.config\.mjs: unknown key "batchsize"; did you mean "batchSize"\?/);
  });
});

describe('plugins of the user', () => {
  const SELECTOR = `
    import { z } from 'zod';
    const options = z.object({ count: z.number().int().default(1).describe('how many') });
    export const selector = {
      name: 'mine', summary: 'the first units', options,
      create(given) {
        const { count } = options.parse(given);
        let units = [];
        return {
          name: 'mine', options: { count }, granularity: 'block',
          setup(context) { units = context.units; },
          select: () => new Set(units.slice(0, count).map(({ id }) => id)),
          importance: () => undefined, state: () => null, restore() {},
        };
      },
    };`;

  beforeAll(() => {
    symlinkSync(path.join(__dirname, '../node_modules'), path.join(here.folder, 'node_modules'));
    here.write('mine.mjs', SELECTOR);
    here.write('none.mjs', 'export const adapter = {};');
  });

  test('a selector by its path: its options are checked, shown and used', async () => {
    const flags = ['--selector', './mine.mjs', '--steps', '1', '--out', 'runs/mine'];
    const help = await lftProcess(['train', '--help', ...flags]);
    expect(help.stdout).toMatch(/Selector mine: the first units\n {2}--selector\.count <integer> +how many \(1\)/);
    const run = await lftProcess(['train', ...SMALL_RUN, ...flags, '--selector.count', '2', '--json']);
    expect(run).toMatchObject({ code: 0, stderr: '' });
    expect(events(run.stdout).find(({ kind }) => kind === 'step')).toMatchObject({
      active: ['model.layers.0', 'model.layers.1'],
    });
  });

  test('a file that exports no selector', async () => {
    const { code, stderr } = await lftProcess(['train', ...SMALL_RUN, '--selector', './none.mjs']);
    expect(code).toBe(1);
    expect(stderr).toBe('error: ./none.mjs is not a selector: it exports no `selector`; it is for --adapter\n');
  });
});

test('a fault of the program itself: its message, and how to see more', async () => {
  here.write('broken.mjs', SOURCE_OF_FAULT);
  const argv = ['train', ...SMALL_RUN, '--selector', './broken.mjs', '--out', 'runs/broken'];
  const { code, stderr } = await lftProcess(argv);
  expect(code).toBe(70);
  expect(stderr).toBe(
    'error: no luck\nThis is a fault of lft or of a plugin. Set LFT_DEBUG=1 to see where it happened.\n',
  );
});

const SOURCE_OF_FAULT = `
  export const selector = {
    name: 'broken', summary: '', options: { safeParse: () => ({ success: true }), shape: {} },
    create() { throw new TypeError('no luck'); },
  };`;
