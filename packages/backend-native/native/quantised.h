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

// The 16 values of NF4 (QLoRA, arXiv 2305.14314, appendix E).
constexpr float kNf4Levels[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
                                  -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
                                  0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
                                  0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};
constexpr int64_t kNf4Block = 64;

// W [rows, columns] row by row in blocks of 64 values that share a scale: two codes a byte, the first in the high half. Codes are whole blocks.
struct Nf4Matrix {
  const uint8_t* codes;
  const float* scales;
  int64_t rows, columns;
};

// Whether the int8 products below are there for [rows, columns]: a processor with AVX512-VNNI, and sums that fit 32 bits. With AMX they run on
// the matrix units, and give the same bits.
bool TakesInt8Product(int64_t rows, int64_t columns);

// y [count, w.rows] = x·Wᵀ, for x [count, w.columns]. Rows of x are rounded to int8, each with a scale of its own, but for values beyond
// 12 times the mean size of their row's: these stay as they are. Products are int8, sums int32 and exact, the scales and the products of
// outliers f32. A row with a value that is not finite gives no finite value.
void Int8Product(const Values& x, const Int8Matrix& w, const Values& y, int64_t count);

// dx [count, w.columns] = dy·W, or added to it, for dy [count, w.rows]: rows of dy∘scales are rounded, as above (SwitchBack, arXiv 2304.13013).
void Int8InputGradient(const Values& dy, const Int8Matrix& w, const Values& dx, int64_t count, bool adds);

// The matrices as bf16, rounded from f32.
void UnpackInt8(const Int8Matrix& w, uint16_t* out);
void UnpackNf4(const Nf4Matrix& w, uint16_t* out);

}  // namespace lft
