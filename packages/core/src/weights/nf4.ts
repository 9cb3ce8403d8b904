/** The 16 values of NF4 (QLoRA, arXiv 2305.14314, appendix E): quantiles of the normal distribution, scaled to [−1, 1], with a zero. */
export const NF4_LEVELS: readonly number[] = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
];

/** Values that share a scale. */
export const NF4_BLOCK = 64;

const LEVELS = Float32Array.from(NF4_LEVELS);
/** Halfway between neighbours: a code is the number of these that its value is above, so a tie goes to the lower level. */
const THRESHOLDS = Float64Array.from({ length: 15 }, (_, i) => (LEVELS[i]! + LEVELS[i + 1]!) / 2);
/** The code of 0. */
const ZERO = 7;

/**
 * A matrix in NF4: row-major in blocks of 64 values, w ≈ level[code] · absmax of the block, two codes in a byte, the first in the high
 * half, as bitsandbytes packs them. A block with a value that is not finite dequantises to NaN.
 */
export class Nf4Values {
  readonly format = 'nf4';

  /**
   * @param codes  32 bytes a block; the last block is filled up with zeros' codes
   * @param scales f32, absmax of each block
   * @param length values in it
   */
  constructor(
    readonly codes: Uint8Array,
    readonly scales: Float32Array,
    readonly length: number,
  ) {}

  static quantise(values: Float32Array): Nf4Values {
    const blocks = Math.ceil(values.length / NF4_BLOCK);
    const codes = new Uint8Array((blocks * NF4_BLOCK) / 2).fill((ZERO << 4) | ZERO);
    const scales = new Float32Array(blocks);
    for (let block = 0; block < blocks; block++) {
      const begin = block * NF4_BLOCK;
      const end = Math.min(values.length, begin + NF4_BLOCK);
      let largest = 0;
      for (let i = begin; i < end; i++) largest = Math.max(largest, Math.abs(values[i]!));
      scales[block] = largest;
      if (largest === 0) continue;
      for (let i = begin; i < end; i += 2) {
        const second = i + 1 < end ? codeOf(values[i + 1]! / largest) : ZERO;
        codes[i / 2] = (codeOf(values[i]! / largest) << 4) | second;
      }
    }
    return new Nf4Values(codes, scales, values.length);
  }

  get byteLength(): number {
    return this.codes.byteLength + this.scales.byteLength;
  }

  /** Values [begin, end) as f32, into `out`. */
  unpack(begin: number, end: number, out: Float32Array): Float32Array {
    const { codes, scales } = this;
    for (let at = begin; at < end; ) {
      const block = Math.floor(at / NF4_BLOCK);
      const stop = Math.min(end, (block + 1) * NF4_BLOCK);
      const scale = scales[block]!;
      for (; at < stop; at++) {
        const pair = codes[at >> 1]!;
        out[at - begin] = LEVELS[at & 1 ? pair & 15 : pair >> 4]! * scale;
      }
    }
    return out;
  }
}

/** The nearest level's code, by halves. @param value in [−1, 1] */
function nearestCode(value: number): number {
  let code = value > THRESHOLDS[7]! ? 8 : 0;
  if (value > THRESHOLDS[code + 3]!) code += 4;
  if (value > THRESHOLDS[code + 1]!) code += 2;
  if (value > THRESHOLDS[code]!) code += 1;
  return code;
}

/** Parts of [−1, 1] that are looked up: a search through random values costs ten times as much. */
const PARTS = 4096;
const SEARCH = 255;
/** The code of every part, or SEARCH where a threshold lies in it (widened, since the part's number is rounded). */
const CODES = Uint8Array.from({ length: PARTS + 1 }, (_, part) => {
  const [below, above] = [part - 1e-6, part + 1 + 1e-6].map((edge) => nearestCode((2 * edge) / PARTS - 1));
  return below === above ? below! : SEARCH;
});

function codeOf(value: number): number {
  const code = CODES[((value + 1) * (PARTS / 2)) | 0]!;
  return code === SEARCH ? nearestCode(value) : code;
}
