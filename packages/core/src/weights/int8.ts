/**
 * A matrix in int8: every row (output channel) by itself, symmetric, w ≈ code · absmax / 127, rounded to the nearest code, ties to even.
 * A row with a value that is not finite dequantises to NaN, so that a broken file cannot pass for a trained one.
 */
export class Int8Values {
  readonly format = 'int8';

  /**
   * @param codes  [rows × columns], each in −127…127
   * @param scales [rows] f32
   */
  constructor(
    readonly codes: Int8Array,
    readonly scales: Float32Array,
  ) {}

  /** @param values [rows × columns] */
  static quantise(values: Float32Array, rows: number): Int8Values {
    const columns = values.length / rows;
    const codes = new Int8Array(values.length);
    const scales = new Float32Array(rows);
    for (let r = 0; r < rows; r++) {
      const begin = r * columns;
      let largest = 0;
      for (let i = begin; i < begin + columns; i++) largest = Math.max(largest, Math.abs(values[i]!));
      scales[r] = largest / 127;
      const scale = scales[r]!;
      // A row of zeros, or of values so small that their scale is none.
      if (scale === 0) continue;
      for (let i = begin; i < begin + columns; i++) codes[i] = nearestEven(values[i]! / scale);
    }
    return new Int8Values(codes, scales);
  }

  get length(): number {
    return this.codes.length;
  }

  get byteLength(): number {
    return this.codes.byteLength + this.scales.byteLength;
  }

  /** Values [begin, end) as f32, into `out`. */
  unpack(begin: number, end: number, out: Float32Array): Float32Array {
    const { codes, scales } = this;
    const columns = codes.length / scales.length;
    for (let at = begin; at < end; ) {
      const row = Math.floor(at / columns);
      const stop = Math.min(end, (row + 1) * columns);
      const scale = scales[row]!;
      for (; at < stop; at++) out[at - begin] = codes[at]! * scale;
    }
    return out;
  }
}

/** Adding 1.5 · 2^52 leaves a double no bit for a fraction: it rounds to an integer as IEEE does, ties to even. */
const WHOLE = 1.5 * 2 ** 52;

function nearestEven(value: number): number {
  return value + WHOLE - WHOLE;
}
