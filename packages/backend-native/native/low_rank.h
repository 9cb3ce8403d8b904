#pragma once
#include "matmul.h"

namespace lft {

struct LowRankShape {
  int64_t rows, in, out, rank;
  float scale;
};

// low [rows, rank] = s·x·Aᵀ and y [rows, out] += low·Bᵀ, with A [rank, in] and B [out, rank] in f32.
// round: products of f32 operands are of bf16 too.
void LowRank(const Values& x, const float* a, const float* b, float* low, const Values& y, const LowRankShape& shape, bool round);

// dx [rows, in], dA and dB of the above.
void LowRankGradients(const Values& dy, const Values& x, const float* a, const float* b, const float* low, const Values& dx, float* da,
                      float* db, const LowRankShape& shape, bool round);

}  // namespace lft
