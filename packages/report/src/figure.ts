import type { EChartsOption } from 'echarts';
import { type Html, html } from './html.js';
import { drawSvg, WIDTHS } from './svg-chart.js';

export interface Figure {
  /** Unique in the page; letters only. */
  readonly id: string;
  readonly title: string;
  readonly caption?: string | undefined;
  readonly legend?: Html | undefined;
  readonly height: number;
  readonly option: (width: number) => EChartsOption;
}

/**
 * A chart with its title. It is drawn twice, for a wide page and for a narrow screen, so that its letters are readable on both; the
 * stylesheet shows one of them.
 * @param width how much of a wide page's row it takes
 */
export function chartFigure(figure: Figure, width: 'wide' | 'half' | 'third' = 'wide'): Html {
  const { id, title, caption, legend } = figure;
  return html`<figure id="${id}"><h3>${title}</h3>${caption && html`<figcaption>${caption}</figcaption>`}${legend}<div class="w">${draw(
    figure,
    `${id}-w`,
    WIDTHS[width],
  )}</div><div class="n">${draw(figure, `${id}-n`, WIDTHS.narrow)}</div></figure>
`;
}

function draw({ height, title, option }: Figure, id: string, width: number): Html {
  return drawSvg({ id, width, height, title, option: option(width) });
}

/** What the curves or the colours mean. `mark` is how it is drawn. */
export function legend(items: readonly { name: string; color: string; mark?: 'line' | 'thin' | 'dot' }[]): Html {
  return html`<ul class="legend">${items.map(
    ({ name, color, mark = 'line' }) => html`<li><i class="${mark}" style="color:${color}"></i>${name}</li>`,
  )}</ul>`;
}

/** The shades of a heat map, with what its ends mean. */
export function scaleLegend(low: string, colors: readonly string[], high: string): Html {
  return html`<div class="scale"><span>${low}</span><b aria-hidden="true">${colors.map(
    (color) => html`<i style="background:${color}"></i>`,
  )}</b><span>${high}</span></div>`;
}
