import type { EChartsOption, LineSeriesOption } from 'echarts';
import { downsample, type Point } from './curve.js';
import { AXIS, FONT, INK } from './svg-chart.js';

export interface Curve {
  readonly points: readonly Point[];
  /** A CSS colour. */
  readonly color: string;
  readonly width?: number;
  readonly opacity?: number;
  /** A mark at every point. */
  readonly marks?: boolean;
}

export interface LineChart {
  readonly curves: readonly Curve[];
  readonly width: number;
  readonly format: (value: number) => string;
  /** Largest x. */
  readonly steps: number;
  /** True for amounts, whose axis starts at zero. */
  readonly fromZero?: boolean;
}

/** Curves over the steps of a run. Long ones are thinned to about a point a pixel and a half. */
export function lineChart({ curves, width, format, steps, fromZero = false }: LineChart): EChartsOption {
  return {
    grid: { left: 58, right: 14, top: 12, bottom: 40, outerBoundsMode: 'none' },
    xAxis: stepAxis(steps, width),
    yAxis: {
      ...AXIS,
      type: 'value',
      scale: !fromZero,
      splitNumber: 4,
      axisLabel: { ...FONT, formatter: format },
    },
    series: curves.map((curve) => lineSeries(curve, width)),
  };
}

function lineSeries(
  { points, color, width: stroke = 1.5, opacity = 1, marks = false }: Curve,
  width: number,
): LineSeriesOption {
  const shown = downsample(points, Math.round(width / 1.5));
  return {
    type: 'line',
    silent: true,
    data: shown.map((point) => [...point]),
    symbol: 'circle',
    symbolSize: shown.length > 30 ? 4 : 7,
    showSymbol: marks || shown.length < 3,
    lineStyle: { color, width: stroke, opacity, join: 'round' },
    itemStyle: { color, opacity: 1 },
  };
}

/** The x axis of everything that is shown over steps. */
export function stepAxis(steps: number, width: number) {
  return {
    ...AXIS,
    type: 'value' as const,
    min: 0,
    max: Math.max(1, steps),
    minInterval: 1,
    splitNumber: width > 600 ? 8 : 4,
    splitLine: { show: false },
    axisLine: { show: true, lineStyle: { color: INK.grid } },
    // Otherwise a round number just below the end is printed over the end's.
    axisLabel: {
      ...FONT,
      hideOverlap: true,
      showMaxLabel: true,
      formatter: (step: number) => step.toLocaleString('en-US'),
    },
    name: 'steps',
    nameLocation: 'middle' as const,
    nameGap: 24,
  };
}
