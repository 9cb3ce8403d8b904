import type { EChartsOption } from 'echarts';
import { stepAxis } from './line-chart.js';
import { AXIS, FONT, INK } from './svg-chart.js';

export interface Bar {
  readonly label: string;
  readonly value: number;
}

const ROW = 20;

export function rankingHeight(bars: number): number {
  return 12 + bars * ROW;
}

/** Horizontal bars, the first at the top, each with its value. */
export function rankingBars(bars: readonly Bar[], width: number, format: (value: number) => string): EChartsOption {
  const values = bars.map(({ value }) => value);
  const left = Math.min(width * 0.35, 20 + 6.6 * Math.max(...bars.map(({ label }) => label.length)));
  const negative = Math.min(0, ...values) < 0;
  // Values of negative bars stand between the names and the bars.
  const room = Math.max(0, ...values.filter((value) => value < 0).map((value) => 12 + 7 * format(value).length));
  return {
    grid: { left: left + room, right: 60, top: 4, height: bars.length * ROW, outerBoundsMode: 'none' },
    xAxis: {
      ...AXIS,
      type: 'value',
      min: Math.min(0, ...values),
      max: Math.max(0, ...values),
      splitLine: { show: false },
      axisLabel: { show: false },
    },
    yAxis: {
      ...AXIS,
      type: 'category',
      inverse: true,
      data: bars.map(({ label }) => label),
      splitLine: { show: false },
      axisLine: { show: negative, onZero: true, lineStyle: { color: INK.muted } },
      axisLabel: { ...FONT, interval: 0, width: left - 12, overflow: 'truncate', margin: 8 + room },
    },
    series: [
      {
        type: 'bar',
        silent: true,
        barWidth: ROW - 7,
        data: bars.map(({ value }) => ({
          value,
          label: { position: value < 0 ? 'left' : 'right' },
          itemStyle: { color: value < 0 ? 'var(--second)' : 'var(--accent)', borderRadius: 2 },
        })),
        label: { show: true, ...FONT, formatter: ({ dataIndex }) => format(values[dataIndex]!) },
      },
    ],
  };
}

/** Bars over the steps in two layers, one on the other: `[from, to, below, above]`. */
export function stackedBars(
  bars: readonly (readonly [from: number, to: number, below: number, above: number])[],
  steps: number,
  width: number,
  format: (value: number) => string,
): EChartsOption {
  const layer = (color: string, low: (bar: readonly number[]) => number, high: (bar: readonly number[]) => number) => ({
    type: 'custom' as const,
    silent: true,
    encode: { x: [0, 1], y: [2, 3] },
    data: bars.map((bar) => [bar[0], bar[1], low(bar), high(bar)]),
    renderItem: (_: unknown, api: { value(i: number): number | string; coord(at: number[]): number[] }) => {
      const [x0, y0] = api.coord([api.value(0) as number, api.value(2) as number]) as [number, number];
      const [x1, y1] = api.coord([api.value(1) as number, api.value(3) as number]) as [number, number];
      const gap = x1 - x0 > 4 ? 1 : 0;
      return {
        type: 'rect' as const,
        shape: { x: x0, y: y1, width: Math.max(0.5, x1 - x0 - gap), height: Math.max(0, y0 - y1) },
        style: { fill: color },
      };
    },
  });
  return {
    grid: { left: 58, right: 14, top: 12, bottom: 40, outerBoundsMode: 'none' },
    xAxis: stepAxis(steps, width),
    yAxis: { ...AXIS, type: 'value', min: 0, splitNumber: 4, axisLabel: { ...FONT, formatter: format } },
    series: [
      layer(
        'var(--accent)',
        () => 0,
        (bar) => bar[2]!,
      ),
      layer(
        'var(--second)',
        (bar) => bar[2]!,
        (bar) => bar[2]! + bar[3]!,
      ),
    ],
  };
}
