#pragma once
#include "matmul.h"

namespace lft {

struct LowRankShape {
  int64_t rows, in, out, rank;
  float scale;
};

// low [rank, rows] = s·A·xᵀ and y [rows, out] += lowᵀ·Bᵀ, with A [rank, in] and B [out, rank] in f32. low is held as x is.
// round: products of f32 operands are of bf16 too.
void LowRank(const Values& x, const float* a, const float* b, const Values& low, const Values& y, const LowRankShape& shape, bool round);

// dx [rows, in], which is added to with `adds`, dA and dB of the above. Those that are nullptr are left out; without dA and dB x is not read.
void LowRankGradients(const Values& dy, const Values& x, const float* a, const float* b, const Values& low, const Values& dx, float* da,
                      float* db, bool adds, const LowRankShape& shape, bool round);

}  // namespace lft
