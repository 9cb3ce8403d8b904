import { activitySection } from './activity-section.js';
import { lossSection, optimizationSection, resourceSection } from './curve-section.js';
import { baseName, headline } from './headline.js';
import { Html, html } from './html.js';
import { importanceSection } from './importance-section.js';
import type { RunRecord } from './run-record.js';
import { settings } from './settings.js';
import { STYLESHEET } from './stylesheet.js';
import { unitRows } from './unit-table.js';

/** What the model says to a prompt before and after training. */
export interface Sample {
  readonly prompt: string;
  readonly before: string;
  readonly after: string;
}

export interface ReportOptions {
  /** Default: model, adapter and selector. */
  readonly title?: string;
  readonly samples?: readonly Sample[];
  /** Plain text for the reader, shown under the headline facts; an empty line parts paragraphs. */
  readonly notes?: string;
}

/** The report as one HTML page: no script, and nothing that it would load. */
export function renderReport(run: RunRecord, options: ReportOptions = {}): string {
  const { config } = run;
  const units = unitRows(run);
  const title =
    options.title ?? `${baseName(config.model.source)}: ${config.adapter.name} with ${config.selector.name}`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>${title}</title>
<style>${new Html(STYLESHEET)}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p class="lead">Layer-wise fine-tuning of ${config.model.source}</p>
${headline(run)}
${notes(run, options.notes)}
${lossSection(run)}
${activitySection(run, units)}
${importanceSection(run, units)}
${optimizationSection(run)}
${resourceSection(run)}
${samples(options.samples ?? [])}
<h2>Configuration</h2>
${settings(config)}
<footer class="small">Made by lft from ${baseName(run.folder)}.</footer>
</main>
</body>
</html>
`.text;
}

function notes({ config, steps }: RunRecord, text = ''): Html | undefined {
  const paragraphs = text.split(/\n\s*\n/).filter((paragraph) => paragraph.trim() !== '');
  if (steps.length < config.training.steps) {
    paragraphs.push(`This run is not finished: ${steps.length} of ${config.training.steps} steps are done.`);
  }
  if (paragraphs.length === 0) return undefined;
  return html`<div class="card notes">${paragraphs.map((paragraph) => html`<p>${paragraph}</p>`)}</div>`;
}

function samples(list: readonly Sample[]): Html | undefined {
  if (list.length === 0) return undefined;
  return html`<h2>Samples</h2>
<div class="samples">${list.map(
    ({ prompt, before, after }) => html`<article class="card"><h3>Prompt</h3><pre>${prompt}</pre>
<div class="pair"><div class="before"><h3>Before</h3><pre>${before}</pre></div><div class="after"><h3>After</h3><pre>${after}</pre></div></div></article>
`,
  )}</div>`;
}
