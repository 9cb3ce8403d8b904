#pragma once
#include <cstdint>

#include "values.h"

namespace lft {

// W [rows, columns] = diag(scales)·codes, each code in −127…127.
struct Int8Matrix {
  const int8_t* codes;
  const float* scales;
  int64_t rows, columns;
};

// Whether the int8 products below are there for [rows, columns], and the fastest way: a processor with AVX512-VNNI and no matrix tiles
// (whose bf16 is faster), and sums that fit 32 bits.
bool TakesInt8Product(int64_t rows, int64_t columns);

// y [count, w.rows] = x·Wᵀ, for x [count, w.columns]. Rows of x are rounded to int8, each with a scale of its own (absmax / 127); products
// are int8, sums int32 and exact, the scales act in f32. A row with a value that is not finite gives no finite value.
void Int8Product(const Values& x, const Int8Matrix& w, const Values& y, int64_t count);

// dx [count, w.columns] = dy·W, for dy [count, w.rows]: rows of dy∘scales are rounded, as above (SwitchBack, arXiv 2304.13013).
void Int8InputGradient(const Values& dy, const Int8Matrix& w, const Values& dx, int64_t count);

// The matrices as bf16, rounded from f32.
void UnpackInt8(const Int8Matrix& w, uint16_t* out);
// NF4: two codes a byte, the first in the high half; a scale for 64 values. codes are whole blocks, of which `count` values are written.
void UnpackNf4(const uint8_t* codes, const float* scales, int64_t count, uint16_t* out);

}  // namespace lft
