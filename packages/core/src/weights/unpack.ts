import type { Int8Values } from './int8.js';
import type { Nf4Values } from './nf4.js';

/** A weight's values, row-major: f32, bf16 bit patterns, or quantised. */
export type WeightData = Float32Array | Uint16Array | Int8Values | Nf4Values;

/**
 * Values [begin, end) as f32. An f32 source gives a view, not a copy; the others fill `out`. bf16 is the upper half of an f32.
 * @param out as many values, or more
 */
export function unpack(
  data: WeightData,
  begin: number,
  end: number,
  out = new Float32Array(end - begin),
): Float32Array {
  if (data instanceof Float32Array) return data.subarray(begin, end);
  if (!(data instanceof Uint16Array)) return data.unpack(begin, end, out);
  const bits = new Uint32Array(out.buffer, out.byteOffset, end - begin);
  for (let i = 0; i < bits.length; i++) bits[i] = data[begin + i]! << 16;
  return out;
}

/** Side of the square tiles of a transposition: a tile of source and of target stay in the L1 cache. */
const TILE = 32;

/** Rows [begin, end) of a [rows, columns] matrix, as f32 [columns, end - begin]. */
export function unpackTransposed(data: WeightData, columns: number, begin: number, end: number): Float32Array {
  const rows = end - begin;
  // Moved as bits: a number that goes through a register of floats may lose the payload of a NaN.
  const bits = new Uint32Array(rows * columns);
  const unpacked = new Float32Array(data instanceof Float32Array ? 0 : Math.min(rows, TILE) * columns);
  for (let r0 = 0; r0 < rows; r0 += TILE) {
    const r1 = Math.min(rows, r0 + TILE);
    const strip = unpack(data, (begin + r0) * columns, (begin + r1) * columns, unpacked);
    const source = new Uint32Array(strip.buffer, strip.byteOffset, strip.length);
    for (let c0 = 0; c0 < columns; c0 += TILE) {
      const c1 = Math.min(columns, c0 + TILE);
      for (let r = r0; r < r1; r++) {
        const row = (r - r0) * columns;
        for (let c = c0; c < c1; c++) bits[c * rows + r] = source[row + c]!;
      }
    }
  }
  return new Float32Array(bits.buffer);
}
