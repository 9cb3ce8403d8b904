import { readFileSync } from 'node:fs';

/** What this process holds now, and the most that it held at a time, in MB. */
export function memoryMegabytes() {
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    const of = (field) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)[1]) / 1024;
    return { now: of('VmRSS'), peak: of('VmHWM') };
  } catch {
    return { now: process.memoryUsage.rss() / 1024 ** 2, peak: process.resourceUsage().maxRSS / 1024 };
  }
}

/** Seconds of processor time that this process used, all threads together. */
export function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
