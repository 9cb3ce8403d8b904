const UNKNOWN = '–';

/** Three significant digits, no exponent for everyday sizes: 0.0123, 2.05, 1,240. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return trimExponent(value.toExponential(2));
  if (size >= 1000) return Math.round(value).toLocaleString('en-US').replace(/^-/, '−');
  return String(Number(value.toPrecision(3))).replace(/^-/, '−');
}

/** A loss: three decimals, so that two of them can be compared. */
export function formatLoss(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  return Math.abs(value) >= 1000 ? formatNumber(value) : value.toFixed(3);
}

/** 842, 12,400, 1.35 M, 7.24 B. */
export function formatCount(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toPrecision(3)} B`;
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  return Math.round(value).toLocaleString('en-US');
}

export function formatShare(share: number): string {
  const percent = share * 100;
  if (!Number.isFinite(percent)) return UNKNOWN;
  if (percent !== 0 && percent < 0.01) return '< 0.01 %';
  return `${percent >= 99.95 ? Math.round(percent) : Number(percent.toPrecision(percent < 10 ? 2 : 3))} %`;
}

export function formatBytes(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(names.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value >= 100 ? Math.round(value).toLocaleString('en-US') : Number(value.toPrecision(3))} ${names[power]}`;
}

export function formatDuration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const total = Math.round(seconds);
  if (total < 3600) return `${Math.floor(total / 60)} min ${total % 60} s`;
  const minutes = Math.round(total / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function trimExponent(text: string): string {
  return text
    .replace(/\.?0+e/, 'e')
    .replace('e+', 'e')
    .replace(/^-/, '−');
}
