import { type EChartsOption, init } from 'echarts';
import { escapeHtml, Html } from './html.js';

/** Width of a drawing for a page as wide as a desk's, of one for a phone's, and of those that share a row. */
export const WIDTHS = { wide: 900, narrow: 380, half: 420, third: 276 } as const;

/** Colours are variables of the page's stylesheet, so that one drawing serves the light and the dark scheme. */
export const INK = { text: 'var(--ink)', muted: 'var(--muted)', grid: 'var(--grid)', track: 'var(--track)' } as const;

export const FONT = { fontFamily: 'var(--font)', fontSize: 12, color: INK.muted } as const;

/** Axis settings that all charts share. */
export const AXIS = {
  axisLine: { show: false },
  axisTick: { show: false },
  axisLabel: FONT,
  nameTextStyle: FONT,
  splitLine: { lineStyle: { color: INK.grid, width: 1 } },
} as const;

export interface Drawing {
  /** Unique in the page. */
  readonly id: string;
  readonly width: number;
  readonly height: number;
  /** Read out in the place of the picture. */
  readonly title: string;
  readonly option: EChartsOption;
}

/** Draws a chart as an inline SVG, without a browser. */
export function drawSvg({ id, width, height, title, option }: Drawing): Html {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption({ animation: false, textStyle: FONT, ...option });
    return new Html(clean(chart.renderToSVGString(), id, title));
  } finally {
    chart.dispose();
  }
}

/** Drops what only the charting library's own script would use, and makes ids unique in the page and the same in every process. */
function clean(svg: string, id: string, title: string): string {
  return svg
    .replace(/<style ?>[\s\S]*?<\/style>/g, '')
    .replace(/ (?:ecmeta_\w+|class|pointer-events)="[^"]*"/g, '')
    .replace(/\bzr\d+-/g, `${id}-`)
    .replace(/ xmlns:xlink="[^"]*"| version="1.1"| baseProfile="full"/g, '')
    .replace(/<\/(?:path|rect)>/g, '')
    .replace(/<((?:path|rect)\b[^>]*[^/])>/g, '<$1/>')
    .replace(/ (?:d|transform)="[^"]*"/g, (attribute) => attribute.replace(/(\.\d{2})\d+/g, '$1'))
    .replace(
      /<svg ([^>]*)>/,
      `<svg $1 role="img" aria-labelledby="${id}-title"><title id="${id}-title">${escapeHtml(title)}</title>`,
    );
}
