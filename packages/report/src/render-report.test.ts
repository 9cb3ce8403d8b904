import { chmod, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { renderReport } from './render-report.js';
import { readRun } from './run-record.js';
import {
  ilaRun,
  istRun,
  lisaRun,
  removeSyntheticRuns,
  type SyntheticRun,
  syntheticRun,
} from './testing/synthetic-run.js';
import { writeReport } from './write-report.js';

afterAll(removeSyntheticRuns);

const pageOf = async (run: SyntheticRun, options = {}) => renderReport(await readRun(await syntheticRun(run)), options);
/** The text that a reader sees, without drawings for the narrow screen. */
const textOf = (page: string) =>
  page
    .replace(/<style>.*?<\/style>/gs, '')
    .replace(/<div class="n">.*?<\/svg><\/div>/gs, '')
    .replace(/<[^>]+>/g, '\n')
    .replace(/\n+/g, '\n');
const figuresOf = (page: string) => [...page.matchAll(/<figure id="([^"]+)"/g)].map(([, id]) => id);

test('the headline says what was trained, on what, and what it cost', async () => {
  const text = textOf(await pageOf(istRun));
  for (const fact of [
    'stories260K: lora with ist',
    '2.412 → 1.794',
    'perplexity 11.2 → 6.01',
    'LlamaForCausalLM, 5 blocks',
    'rank 8, alpha 16, dropout 0, targets q_proj v_proj',
    'by block, active 2, suppress 0.25, every 10',
    '2,000 rows of alpaca.jsonl, template alpaca',
    '4.2 %',
    '20,480 of 491,520 parameters; 8,192 in a step on average',
    '448 MiB',
  ]) {
    expect(text).toContain(fact);
  }
  expect(text).toMatch(/[\d,]+ tokens\/s/);
  expect(text).toMatch(/[\d.]+ % of it asking the model for scores/);
});

test('a run with scores by block is shown over time, over the rounds and ranked', async () => {
  const page = await pageOf(istRun);
  expect(figuresOf(page)).toEqual([
    'loss',
    'activity',
    'importance',
    'ranking',
    'rate',
    'norm',
    'time',
    'speed',
    'memory',
  ]);
  expect(textOf(page)).toMatch(/Ranking as a table[\s\S]*\n1\nblock 3\n[\s\S]*model\.layers\.3/);
});

test('a run without scores has no section about importance', async () => {
  const page = await pageOf(lisaRun);
  expect(figuresOf(page)).toEqual(['loss', 'activity', 'rate', 'norm', 'time', 'speed', 'memory']);
  expect(page).not.toContain('Which layers matter');
});

test('what lies outside the blocks has its own rows', async () => {
  const text = textOf(await pageOf(lisaRun));
  expect(text).toMatch(/\nembedding\nblock 0\n/);
  expect(text).toMatch(/\nblock 29\nfinal norm\nhead\n/);
});

test('modules are shown as a picture of blocks and their modules, and only the best as bars', async () => {
  const page = await pageOf(ilaRun);
  expect(figuresOf(page)).toContain('modules');
  expect(figuresOf(page)).toContain('trained');
  const text = textOf(page);
  expect(text).toMatch(/\nq\nk\nv\no\ngate\nup\ndown\n/);
  expect(text).toContain('The 20 most important of 210 units');
  expect(page.match(/<th scope="row">\d+\.(q|k|v|o|gate|up|down)<\/th>/g)).toHaveLength(210);
});

test('a selector that trains everything in every step is told in a sentence', async () => {
  const page = await pageOf({ ...lisaRun, active: () => lisaRun.units.map(({ id }) => id) });
  expect(figuresOf(page)).not.toContain('activity');
  expect(page).toContain('Every unit (33) trained in every step.');
});

test('a run of one step is a report', async () => {
  const page = await pageOf({ ...istRun, steps: 1 });
  expect(figuresOf(page)).toEqual(['loss', 'activity', 'ranking', 'rate', 'norm', 'time', 'speed', 'memory']);
  expect(page).not.toMatch(/NaN|Infinity|undefined/);
});

test('a run that has not begun to train is a report', async () => {
  const page = renderReport({
    ...(await readRun(await syntheticRun({ ...istRun, steps: 0, planned: 50 }))),
    timings: [],
  });
  expect(page).toContain('This run is not finished: 0 of 50 steps are done.');
  expect(page).not.toMatch(/NaN|Infinity|undefined/);
});

test('a run that stopped early says so', async () => {
  expect(await pageOf({ ...istRun, planned: 500 })).toContain('This run is not finished: 120 of 500 steps are done.');
});

test('losses that are not finite are gaps, not errors', async () => {
  const run = await readRun(await syntheticRun(istRun));
  const page = renderReport({
    ...run,
    steps: run.steps.map((step) => ({ ...step, loss: null, gradientNorm: null })),
    evaluations: [],
  });
  expect(page).toContain('nothing was measured on held-out text');
  expect(page).not.toMatch(/NaN|Infinity|undefined/);
});

test('what a run or a caller wrote is shown, never run', async () => {
  const evil = '<script>alert(1)</script>"\'&<img src=x onerror=alert(1)>';
  const run = await readRun(
    await syntheticRun({
      source: evil,
      selector: { name: evil, granularity: 'block', options: { [evil]: evil } },
      units: [0, 1].map((i) => ({ id: `${evil}${'x'.repeat(i)}`, block: null, role: 'block', size: 8 })),
      steps: 6,
      active: () => [evil],
      scores: () => ({ [evil]: 1, [`${evil}x`]: 2 }),
    }),
  );
  const page = renderReport(run, { title: evil, notes: evil, samples: [{ prompt: evil, before: evil, after: evil }] });
  expect(page).not.toContain('<script');
  expect(page).not.toContain('<img');
  expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
});

test('a page loads nothing and runs nothing', async () => {
  const page = await pageOf(ilaRun, { samples: [{ prompt: 'a', before: 'b', after: 'c' }] });
  expect(page).not.toMatch(/<script|<link|<iframe|<img|@import|\bon\w+=|url\((?!#)/);
  expect(page.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:/);
});

test('every drawing has a title of its own', async () => {
  const page = await pageOf(ilaRun);
  const svgs = page.match(/<svg [^>]*>/g)!;
  const labels = svgs.map((svg) => /role="img" aria-labelledby="([^"]+)"/.exec(svg)?.[1]);
  expect(new Set(labels).size).toBe(svgs.length);
  for (const id of labels) expect(page).toMatch(new RegExp(`<title id="${id}">[^<]+</title>`));
});

test('ids occur once', async () => {
  const ids = [...(await pageOf(ilaRun)).matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  expect(new Set(ids).size).toBe(ids.length);
});

test('equal runs give equal pages, whatever was drawn before', async () => {
  const run = await readRun(await syntheticRun(istRun));
  expect(renderReport(run)).toBe(renderReport(run));
});

test('samples and notes keep their lines', async () => {
  const page = await pageOf(istRun, {
    notes: 'First.\n\nSecond.',
    samples: [{ prompt: 'Say', before: 'a\nb', after: 'c\nd' }],
  });
  expect(page).toContain('<p>First.</p><p>Second.</p>');
  expect(page).toContain('<pre>a\nb</pre>');
});

test('the whole configuration is in the tables', async () => {
  const text = textOf(await pageOf(istRun));
  for (const pair of ['warmupSteps\n10', 'learningRate\n0.0002', 'template\nalpaca', 'backend\nwasm', 'units\n5']) {
    expect(text).toContain(`\n${pair}\n`);
  }
});

test('a run of 20,000 steps is a page of less than two megabytes', async () => {
  const page = await pageOf({
    ...lisaRun,
    steps: 20_000,
    active: (_, random) => lisaRun.units.filter(() => random() < 0.3).map(({ id }) => id),
  });
  expect(page.length).toBeLessThan(2e6);
});

test('a report is one file in the run folder', async () => {
  const folder = await syntheticRun(istRun);
  const before = await readdir(folder);
  const path = await writeReport(folder, { title: 'Mine' });
  expect(path).toBe(join(folder, 'report.html'));
  expect((await readdir(folder)).sort()).toEqual([...before, 'report.html'].sort());
  expect(await readFile(path, 'utf8')).toContain('<title>Mine</title>');
});

test('a folder that cannot be written to is output-not-writable', async () => {
  const folder = await syntheticRun(istRun);
  await chmod(folder, 0o500);
  const error = await writeReport(folder).catch((reason: unknown) => reason);
  // The superuser may write everywhere: there is then nothing to see.
  if (process.getuid?.() === 0) expect((await stat(join(folder, 'report.html'))).isFile()).toBe(true);
  else expect(error).toMatchObject({ code: 'output-not-writable' });
  await chmod(folder, 0o700);
});
