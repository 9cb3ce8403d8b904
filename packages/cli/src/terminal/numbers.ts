/** 1,234 */
export function countText(value: number): string {
  return value.toLocaleString('en-US');
}

/** 5.33 %, 100 % */
export function shareText(share: number): string {
  const percent = share * 100;
  if (percent !== 0 && Math.abs(percent) < 0.01) return '< 0.01 %';
  return `${Math.abs(percent) >= 99.95 ? Math.round(percent) : Number(percent.toPrecision(3))} %`;
}

/** Binary units: 1.5 MiB */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${value >= 100 ? Math.round(value) : Number(value.toPrecision(3))} ${units[power]}`;
}

/** 8 s, 3 min 20 s, 2 h 5 min */
export function durationText(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min ${total % 60} s`;
  return `${Math.floor(total / 3600)} h ${Math.floor((total % 3600) / 60)} min`;
}

/** A loss, so that two of them can be compared: 2.041 */
export function lossText(loss: number): string {
  return loss.toFixed(3);
}

/** 1,230 for large values, three digits for small ones. */
export function speedText(perSecond: number): string {
  return perSecond >= 100 ? countText(Math.round(perSecond)) : String(Number(perSecond.toPrecision(3)));
}
