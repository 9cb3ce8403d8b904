import { openAddon } from './load-addon.js';

/** Values of dnnl_cpu_isa_t, best first. Every set of bits holds those of the lesser ones. */
const X64: readonly (readonly [isa: number, name: string])[] = [
  [0x22fff, 'AVX10.2 with AMX'],
  [0x201ff, 'AVX10.2'],
  [0x1fef, 'AVX-512 with AMX fp16'],
  [0xfef, 'AVX-512 with AMX'],
  [0x1ef, 'AVX-512 with fp16 and bf16'],
  [0xe7, 'AVX-512 with bf16'],
  [0x67, 'AVX-512 with VNNI'],
  [0x27, 'AVX-512'],
  [0x1f, 'AVX2 with VNNI and bf16'],
  [0xf, 'AVX2 with VNNI'],
  [0x7, 'AVX2'],
];
const ARM64: typeof X64 = [
  [0x27, 'SVE of 512 bits'],
  [0x7, 'SVE of 256 bits'],
  [0x3, 'SVE of 128 bits'],
  [0x1, 'NEON'],
];

/**
 * What the native backend is on this machine, e.g. `oneDNN 3.14.1, AVX-512 with bf16, 2 threads, in /…/lft_native.node`.
 * @throws LftError backend-unavailable
 */
export function describeNative(): string {
  const { addon, file, threads } = openAddon();
  const { oneDnn, isa } = addon.describe();
  const known = process.arch === 'arm64' ? ARM64 : X64;
  const [, instructions] = known.find(([bits]) => (isa & bits) === bits) ?? [];
  return [`oneDNN ${oneDnn}`, instructions, `${threads} threads`, `in ${file}`].filter(Boolean).join(', ');
}
