import { CHROMIUM, drawn, type View, view } from './testing/chromium.js';
import { ilaRun, istRun, lisaRun, removeSyntheticRuns, syntheticRun } from './testing/synthetic-run.js';
import { writeReport } from './write-report.js';

afterAll(removeSyntheticRuns);

/** Set it to a folder to look at the pictures. */
const KEEP = process.env.LFT_REPORT_PICTURES;

const COMMON = ['loss', 'rate', 'norm', 'time', 'speed', 'memory'];
const cases = [
  { name: 'ist', run: istRun, width: 1200, height: 4200, dark: false, charts: ['activity', 'importance', 'ranking'] },
  { name: 'lisa', run: lisaRun, width: 500, height: 6200, dark: false, charts: ['activity'] },
  {
    name: 'ila',
    run: ilaRun,
    width: 1200,
    height: 5600,
    dark: true,
    charts: ['activity', 'trained', 'importance', 'modules', 'ranking'],
  },
];

(CHROMIUM ? describe : describe.skip).each(cases)('a report of $name, $width wide, in a browser', (given) => {
  let seen: View;
  beforeAll(async () => {
    const page = await writeReport(await syntheticRun(given.run), {
      notes: 'A run that never was.',
      samples: [{ prompt: 'Once upon a time', before: 'the the the', after: 'there was a little fox.\nIt ran.' }],
    });
    seen = await view(page, { ...given, out: KEEP && `${KEEP}/${given.name}.png` });
  });

  test('every chart is there once', () => {
    const shown = seen.charts.map(({ id }) => id.replace(/-[wn]-title$/, ''));
    expect(shown.sort()).toEqual([...COMMON, ...given.charts].sort());
  });

  test('no chart is blank', () => {
    for (const { id, box } of seen.charts) {
      const { colors, share } = drawn(seen.picture, box);
      // A line of two pixels over a chart covers more than a hundredth of it.
      expect({ id, colors: colors > 8, share: share > 0.01 }).toEqual({ id, colors: true, share: true });
    }
  });

  test('no label lies over another or is cut off', () => {
    expect(seen.charts.map(({ id, overlaps, cut }) => ({ id, overlaps, cut }))).toEqual(
      seen.charts.map(({ id }) => ({ id, overlaps: [], cut: [] })),
    );
  });

  test('the page is not wider than the window', () => {
    expect(seen.width.taken).toBeLessThanOrEqual(seen.width.there);
  });

  test(`the background is ${given.dark ? 'dark' : 'light'}`, () => {
    const lightness = seen.picture.data[0]!;
    expect(lightness > 128).toBe(!given.dark);
  });
});
