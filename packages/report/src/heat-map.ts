import type { CustomSeriesRenderItem, EChartsOption } from 'echarts';
import { stepAxis } from './line-chart.js';
import { AXIS, FONT, INK } from './svg-chart.js';

/** A rectangle of one shade: from `from` to `to` along x, in a row. */
export interface Span {
  readonly row: number;
  readonly from: number;
  readonly to: number;
  /** Index of the shade in the scale. */
  readonly level: number;
  /** Printed into it, where there is room. */
  readonly text?: string;
}

export interface HeatMap {
  readonly rows: readonly string[];
  readonly spans: readonly Span[];
  /** Names the scale's colour variables: `act` for --act0, --act1, ... */
  readonly scale: 'act' | 'imp';
  readonly width: number;
  /** Steps of the run, or the names of columns. */
  readonly x: { readonly steps: number } | { readonly columns: readonly string[]; readonly name: string };
  /** A bar a row, at the right. */
  readonly bars?: {
    readonly name: string;
    readonly values: readonly number[];
    readonly format: (value: number) => string;
  };
}

/** Height that a heat map of this many rows needs. */
export function heatMapHeight(rows: number, { bars, name }: { bars: boolean; name: boolean }): number {
  return (bars ? BAR_NAME : TOP) + rows * rowHeight(rows) + (name ? BOTTOM : BOTTOM - 18);
}

const TOP = 6;
/** Room for the name of the bars. */
const BAR_NAME = 26;
const BOTTOM = 42;

function rowHeight(rows: number): number {
  if (rows <= 8) return 30;
  if (rows <= 16) return 22;
  return rows <= 48 ? 16 : 11;
}

/** Rows from the top, shaded along x, with a bar a row at the right when there is one. */
export function heatMap({ rows, spans, scale, width, x, bars }: HeatMap): EChartsOption {
  const height = rowHeight(rows.length);
  const left = Math.min(width * 0.3, 20 + 6.6 * Math.max(...rows.map((row) => row.length)));
  const barWidth = bars ? Math.round(width * (width > 600 ? 0.17 : 0.26)) : 0;
  const right = bars ? barWidth + 14 : 10;
  const box = { top: bars ? BAR_NAME : TOP, height: rows.length * height, outerBoundsMode: 'none' as const };
  const rowAxis = {
    ...AXIS,
    type: 'category' as const,
    inverse: true,
    data: [...rows],
    splitLine: { show: false },
    axisLabel: {
      ...FONT,
      fontSize: height < 16 ? 10 : 12,
      interval: Math.ceil(12 / height) - 1,
      width: left - 12,
      overflow: 'truncate' as const,
    },
  };
  const columns = 'columns' in x ? x.columns : undefined;
  const end = 'columns' in x ? x.columns.length : Math.max(1, x.steps);
  const gap = columns && (width - left - right) / columns.length > 8 ? 2 : 0;
  const cell: CustomSeriesRenderItem = (_, api) => {
    const row = api.value(2) as number;
    const level = api.value(3) as number;
    const [x0, y] = api.coord([api.value(0), row]) as [number, number];
    const [x1] = api.coord([api.value(1), row]) as [number, number];
    const text = level < 0 ? undefined : spans[api.value(4) as number]?.text;
    const room = x1 - x0 - gap;
    return {
      type: 'rect',
      shape: { x: x0, y: y - height / 2 + 1, width: Math.max(0.5, room), height: height - 2, r: gap ? 2 : 0 },
      style: { fill: level < 0 ? INK.track : `var(--${scale}${level})` },
      ...(text !== undefined && room > 6.2 * text.length && height >= 14
        ? {
            textContent: {
              type: 'text' as const,
              style: {
                text,
                fontSize: 11,
                fontFamily: FONT.fontFamily,
                fill: level >= 5 ? 'var(--on-high)' : 'var(--on-low)',
              },
            },
            textConfig: { position: 'inside' as const },
          }
        : {}),
    };
  };
  const tracks = columns ? [] : rows.map((_, row) => [0, end, row, -1, -1]);
  return {
    grid: [{ ...box, left, right }, ...(bars ? [{ ...box, right: 46, width: barWidth - 46 }] : [])],
    xAxis: [
      columns
        ? {
            ...AXIS,
            type: 'value',
            min: 0,
            max: end,
            interval: 1,
            splitLine: { show: false },
            axisLabel: { show: false },
          }
        : stepAxis(end, width),
      ...(bars
        ? [
            {
              ...AXIS,
              type: 'value' as const,
              gridIndex: 1,
              min: Math.min(0, ...bars.values),
              max: Math.max(1e-9, ...bars.values),
              splitLine: { show: false },
              axisLabel: { show: false },
              name: bars.name,
              position: 'top' as const,
              nameLocation: 'start' as const,
              nameGap: 0,
              nameTextStyle: {
                ...FONT,
                align: 'left' as const,
                verticalAlign: 'bottom' as const,
                padding: [0, 0, 6, 0],
              },
            },
          ]
        : []),
    ],
    yAxis: [rowAxis, ...(bars ? [{ ...rowAxis, gridIndex: 1, axisLabel: { show: false } }] : [])],
    series: [
      {
        type: 'custom',
        silent: true,
        clip: false,
        encode: { x: [0, 1], y: 2 },
        renderItem: cell,
        data: [...tracks, ...spans.map(({ row, from, to, level }, index) => [from, to, row, level, index])],
      },
      ...(columns ? [columnNames(columns, 'columns' in x ? x.name : '', width - left - right)] : []),
      ...(bars
        ? [
            {
              type: 'bar' as const,
              silent: true,
              xAxisIndex: 1,
              yAxisIndex: 1,
              barWidth: Math.max(4, height - 6),
              data: bars.values.map((value) => ({ value, label: { position: 'right' as const } })),
              itemStyle: { color: 'var(--accent)', borderRadius: 2 },
              label: {
                show: true,
                ...FONT,
                fontSize: height < 16 ? 9 : 11,
                formatter: ({ dataIndex }: { dataIndex: number }) => bars.format(bars.values[dataIndex]!),
              },
            },
          ]
        : []),
    ],
  };
}

/** Names below the columns: as many as there is room for, the last one always. */
function columnNames(columns: readonly string[], name: string, room: number) {
  const longest = Math.max(...columns.map((column) => column.length));
  const every = Math.max(1, Math.ceil((longest * 7 + 8) / (room / columns.length)));
  const last = columns.length - 1;
  const shown = columns
    .map((text, index) => ({ text, index }))
    .filter(({ index }) => index === last || (index % every === 0 && last - index >= every));
  return {
    type: 'custom' as const,
    silent: true,
    clip: false,
    renderItem: ((params, api) => {
      const box = params.coordSys as unknown as { x: number; y: number; width: number; height: number };
      const index = api.value(0) as number;
      const text = index < 0 ? name : columns[index]!;
      const [x] = api.coord([index + 0.5, 0]) as [number, number];
      return {
        type: 'text',
        x: index < 0 ? box.x + box.width / 2 : x,
        y: box.y + box.height + (index < 0 ? 24 : 7),
        style: {
          text,
          fill: INK.muted,
          fontSize: 12,
          fontFamily: FONT.fontFamily,
          align: 'center',
          verticalAlign: 'top',
        },
      };
    }) satisfies CustomSeriesRenderItem as CustomSeriesRenderItem,
    data: [...shown.map(({ index }) => [index, 0]), ...(name ? [[-1, 0]] : [])],
  };
}
