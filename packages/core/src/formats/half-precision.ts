// Conversions work on bit patterns through a Uint32Array over the same memory as the floats: that is exact, and several times as fast as
// a DataView. Typed arrays have the machine's byte order; every platform of Node that the library supports is little-endian, as
// safetensors is.

/** @param source bf16 bit patterns @returns the same values, exactly */
export function float32FromBFloat16(source: Uint16Array): Float32Array<ArrayBuffer> {
  const target = new Float32Array(source.length);
  const bits = new Uint32Array(target.buffer);
  for (let i = 0; i < source.length; i++) bits[i] = source[i]! << 16;
  return target;
}

/**
 * Rounds to the nearest bf16, ties to even, as PyTorch does. Values beyond the largest bf16 become infinite; a NaN stays a NaN with its
 * sign.
 * @returns bf16 bit patterns
 */
export function bfloat16FromFloat32(source: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  const target = new Uint16Array(source.length);
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i]!;
    // Rounding could carry a NaN's payload into the exponent or drop all of it, and make it an infinity: set its quiet bit instead.
    const notANumber = (value & 0x7fffffff) > 0x7f800000;
    target[i] = notANumber ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16;
  }
  return target;
}

/** @param source IEEE half precision bit patterns @returns the same values, exactly */
export function float32FromFloat16(source: Uint16Array): Float32Array<ArrayBuffer> {
  const target = new Float32Array(source.length);
  const bits = new Uint32Array(target.buffer);
  for (let i = 0; i < source.length; i++) {
    const half = source[i]!;
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0x1f) {
      bits[i] = sign | 0x7f800000 | (fraction << 13);
    } else if (exponent !== 0) {
      bits[i] = sign | ((exponent + 112) << 23) | (fraction << 13);
    } else {
      // Subnormal in f16, normal in f32.
      target[i] = fraction * 2 ** -24;
      bits[i]! |= sign;
    }
  }
  return target;
}
