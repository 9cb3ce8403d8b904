#pragma once

namespace lft {

// Whether products of bf16 are best left to the processor's bf16 units: its matrix units, or dot products of AVX-512 that are not slower than as
// many multiplications in f32. Intel's are half as fast, and where a virtual machine is not given the matrix units they are what is left.
// Otherwise the values are widened and multiplied in f32.
bool HasFastBf16Units();

}  // namespace lft
