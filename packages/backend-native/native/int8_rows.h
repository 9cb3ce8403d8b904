#pragma once
#include <cstdint>

#include "values.h"

// Instructions of the int8 units besides those of vectors_avx512.h.
#define LFT_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

namespace lft {

// The most rows of a tile of the result.
constexpr int64_t kMostTileRows = 32;

struct Outlier {
  int32_t at;
  float value;
};

// Rows of int8 with their scales: value (i, k) ≈ codes[i * stride + k] · scales[i], but for outliers.
struct Int8Rows {
  int8_t* codes;
  int64_t stride;
  float* scales;
  // 128 · the sum of a row's codes: what is too much where weights go in as code + 128.
  int32_t* excess;
  // Those of row i from outliers[i * capacity] on.
  Outlier* outliers;
  int32_t* outlier_counts;
  int64_t capacity;
};

// The rows of x [count, width], or of x∘factors where there are some, rounded, in scratch memory. Codes are zeros up to a multiple of 64, and
// those of whole tiles can be read.
Int8Rows QuantiseRows(const Values& x, int64_t count, int64_t width, const float* factors);

}  // namespace lft
