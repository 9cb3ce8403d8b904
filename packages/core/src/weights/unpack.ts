/** Values [begin, end) as f32. An f32 source gives a view, not a copy. bf16 is the upper half of an f32. */
export function unpack(data: Float32Array | Uint16Array, begin: number, end: number): Float32Array {
  if (data instanceof Float32Array) return data.subarray(begin, end);
  const bits = new Uint32Array(end - begin);
  for (let i = 0; i < bits.length; i++) bits[i] = data[begin + i]! << 16;
  return new Float32Array(bits.buffer);
}

/** Side of the square tiles of a transposition: a tile of source and of target stay in the L1 cache. */
const TILE = 32;

/** Rows [begin, end) of a [rows, columns] matrix, as f32 [columns, end - begin]. */
export function unpackTransposed(
  data: Float32Array | Uint16Array,
  columns: number,
  begin: number,
  end: number,
): Float32Array {
  const rows = end - begin;
  const packed = data instanceof Uint16Array;
  const source = packed ? data : new Uint32Array(data.buffer, data.byteOffset, data.length);
  const shift = packed ? 16 : 0;
  const bits = new Uint32Array(rows * columns);
  for (let r0 = 0; r0 < rows; r0 += TILE) {
    const r1 = Math.min(rows, r0 + TILE);
    for (let c0 = 0; c0 < columns; c0 += TILE) {
      const c1 = Math.min(columns, c0 + TILE);
      for (let r = r0; r < r1; r++) {
        const row = (begin + r) * columns;
        for (let c = c0; c < c1; c++) bits[c * rows + r] = source[row + c]! << shift;
      }
    }
  }
  return new Float32Array(bits.buffer);
}
