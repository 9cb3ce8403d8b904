/**
 * Bits of one value, for every type that a safetensors header may name. The order is the format's own, by increasing alignment: files
 * hold their tensors in its reverse.
 */
const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** Type of a tensor's values, as safetensors names it. */
export type Dtype = keyof typeof DTYPE_BITS;

/** Every type, by increasing alignment. */
export const DTYPES = Object.keys(DTYPE_BITS) as readonly Dtype[];

export function isDtype(name: unknown): name is Dtype {
  return typeof name === 'string' && Object.hasOwn(DTYPE_BITS, name);
}

/**
 * Number of bytes that a tensor takes.
 * @returns undefined when there is no such tensor: a size that is not a whole non-negative number, more bytes than a number can count,
 *   or values of less than a byte that do not fill whole bytes
 */
export function tensorBytes(dtype: Dtype, shape: readonly unknown[]): number | undefined {
  let values = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || (size as number) < 0) return undefined;
    values *= size as number;
    if (!Number.isSafeInteger(values)) return undefined;
  }
  const bytes = values * (DTYPE_BITS[dtype] / 8);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
