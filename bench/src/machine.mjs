import { readFileSync } from 'node:fs';
import os from 'node:os';

const FLAGS = ['avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8', 'asimd', 'bf16', 'i8mm', 'sve'];

/** What the figures depend on, as [name, value] rows. */
export function machineFacts(versions) {
  const sides = versions ? Object.entries(versions).map((pair) => pair.join(' ')) : ['not measured'];
  return [
    ['processor', `${os.cpus()[0]?.model.trim() ?? 'unknown'}, ${os.cpus().length} cores`],
    ['instructions', instructions().join(' ')],
    ['memory', `${Math.round(os.totalmem() / 1024 ** 3)} GiB`],
    ['system', `${os.type()} ${os.arch()}`],
    ['Node', process.version],
    ['PyTorch side', sides.join(', ')],
  ];
}

function instructions() {
  try {
    const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))[1].split(' ');
    return FLAGS.filter((flag) => line.includes(flag));
  } catch {
    return ['unknown'];
  }
}

/** Seconds of all cores together that were spent working since the machine started, or undefined where the system does not tell. */
export function busySeconds() {
  try {
    const ticks = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0].split(/\s+/).slice(1, 9).map(Number);
    const [, , , idle, waiting] = ticks;
    return (ticks.reduce((sum, value) => sum + value, 0) - idle - waiting) / 100;
  } catch {
    return undefined;
  }
}
