import { writeFileSync } from 'node:fs';
import Table from 'cli-table3';

/**
 * One table of the report.
 * @typedef {{ title: string, head: string[], rows: (string | number)[][], notes?: string[] }} Section
 */

/** For the terminal. */
export function printSections(sections) {
  for (const { title, head, rows, notes = [] } of sections) {
    const table = new Table({ head, style: { head: [], border: [], compact: true }, colAligns: aligns(head) });
    table.push(...rows);
    console.log([`\n${title}`, table.toString(), ...notes].join('\n'));
  }
}

/** For RESULTS.md. */
export function writeSections(file, introduction, sections) {
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
  const parts = sections.map(({ title, head, rows, notes = [] }) =>
    [
      `## ${title}`,
      [line(head), line(aligns(head).map((side) => (side === 'left' ? '---' : '---:'))), ...rows.map(line)].join('\n'),
      ...notes,
    ].join('\n\n'),
  );
  writeFileSync(file, `${[introduction, ...parts].join('\n\n')}\n`);
}

/** Names are on the left, figures on the right. */
const aligns = (head) =>
  head.map((name) => (/^(case|setting|op|kernel|what|machine|)$/.test(name) || name === ' ' ? 'left' : 'right'));
