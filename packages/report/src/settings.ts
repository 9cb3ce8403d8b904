import { type Html, html } from './html.js';
import type { RunConfig } from './run-record.js';

/** Longer values are cut: data options may hold whole texts. */
const LONGEST = 300;

/** The configuration as tables, one for each part of it. */
export function settings(config: RunConfig): Html {
  const { units, ...rest } = config;
  const loose: [string, unknown][] = [];
  const parts: { name: string; rows: [string, string][] }[] = [];
  for (const [name, value] of Object.entries(rest)) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      parts.push({ name, rows: flatten(value) });
    else loose.push([name, value]);
  }
  loose.push(['units', units.length]);
  parts.push({ name: 'run', rows: flatten(Object.fromEntries(loose)) });
  return html`<div class="settings">${parts
    .filter(({ rows }) => rows.length > 0)
    .map(
      ({ name, rows }) => html`<div class="card"><table><caption>${name}</caption><tbody>${rows.map(
        ([key, value]) => html`<tr><th scope="row">${key}</th><td>${value}</td></tr>`,
      )}</tbody></table></div>
`,
    )}</div>`;
}

function flatten(value: object, path: readonly string[] = []): [string, string][] {
  return Object.entries(value).flatMap(([key, item]): [string, string][] => {
    // `options` says nothing to a reader: what matters is what it is an option of.
    const here = key === 'options' && path.length === 0 ? path : [...path, key];
    if (typeof item === 'object' && item !== null && !Array.isArray(item)) return flatten(item, here);
    if (item === undefined) return [];
    return [[here.join('.') || key, cut(show(item))]];
  });
}

function show(value: unknown): string {
  if (value === null) return '–';
  if (Array.isArray(value))
    return value.map((item) => (typeof item === 'object' ? JSON.stringify(item) : String(item))).join(', ');
  return typeof value === 'number' && Number.isInteger(value) ? value.toLocaleString('en-US') : String(value);
}

function cut(text: string): string {
  return text.length > LONGEST
    ? `${text.slice(0, LONGEST)} … (${text.length.toLocaleString('en-US')} characters)`
    : text;
}
