import { openAddon } from './load-addon.js';

/** What the native backend is on this machine. */
export interface NativeFacts {
  /** The addon's file. */
  readonly file: string;
  /** The version of oneDNN. */
  readonly oneDnn: string;
  /** The best instructions that its products use. */
  readonly instructions: string;
  readonly threads: number;
}

/** Values of dnnl_cpu_isa_t, best first. Every set of bits holds those of the lesser ones. */
const INSTRUCTIONS: readonly (readonly [isa: number, name: string])[] = [
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

/** @throws LftError backend-unavailable */
export function describeNative(): NativeFacts {
  const { addon, file, threads } = openAddon();
  const { oneDnn, isa } = addon.describe();
  const [, name] = INSTRUCTIONS.find(([bits]) => (isa & bits) === bits) ?? [];
  return { file, oneDnn, instructions: name ?? process.arch, threads };
}
