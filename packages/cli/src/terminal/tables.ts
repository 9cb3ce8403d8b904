import Table from 'cli-table3';
import { type Output, wrap } from './output.js';

const PLAIN = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** A table without lines, indented by two. Numbers belong in columns aligned right. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], output: Output): string {
  const drawn = new Table({
    head: columns.map(({ title }) => output.color.dim(title)),
    colAligns: columns.map(({ align = 'left' }) => align),
    chars: PLAIN,
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  });
  drawn.push(...rows.map((row) => [...row]));
  return drawn
    .toString()
    .split('\n')
    .map((line) => `  ${line.trimEnd()}`)
    .join('\n');
}

/** Names and values, one under the other; long values go on under themselves. */
export function facts(rows: readonly (readonly [name: string, value: string])[], output: Output): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  const indent = ' '.repeat(width + 4);
  return rows
    .map(([name, value]) => {
      const lines = wrap(value, output.columns - indent.length);
      return `  ${output.color.dim(name.padEnd(width))}  ${lines.join(`\n${indent}`)}`;
    })
    .join('\n');
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A bar of at most `width` characters, in eighths of one. */
export function bar(share: number, width: number): string {
  const eighths = Math.round(Math.max(0, Math.min(1, share)) * width * 8);
  return '█'.repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8];
}
