#include "low_rank.h"

#include "memory.h"

namespace lft {
namespace {

constexpr int kGradientSlot = 7;

Matrix Dense(const Values& x, int64_t rows, int64_t columns) { return {x.data, x.type, rows, columns, columns, 1}; }
Matrix Dense(const float* x, int64_t rows, int64_t columns) { return {x, Type::kF32, rows, columns, columns, 1}; }

void Scale(float* x, float factor, int64_t count) {
  for (int64_t i = 0; i < count; i++) x[i] *= factor;
}

}  // namespace

void LowRank(const Values& x, const float* a, const float* b, float* low, const Values& y, const LowRankShape& s, bool round) {
  round = round || x.type == Type::kBf16;
  Matmul(Dense(x, s.rows, s.in), Dense(a, s.rank, s.in).Transposed(), {low, Type::kF32}, false, round);
  Scale(low, s.scale, s.rows * s.rank);
  Matmul(Dense(low, s.rows, s.rank), Dense(b, s.out, s.rank).Transposed(), y, true, round);
}

void LowRankGradients(const Values& dy, const Values& x, const float* a, const float* b, const float* low, const Values& dx, float* da,
                      float* db, const LowRankShape& s, bool round) {
  round = round || x.type == Type::kBf16;
  auto* d_low = static_cast<float*>(Scratch(kGradientSlot, s.rows * s.rank * sizeof(float)));
  Matrix d = Dense(dy, s.rows, s.out), from = Dense(d_low, s.rows, s.rank);
  Matmul(d, Dense(b, s.out, s.rank), {d_low, Type::kF32}, false, round);
  Scale(d_low, s.scale, s.rows * s.rank);
  Matmul(d.Transposed(), Dense(low, s.rows, s.rank), {db, Type::kF32}, false, round);
  Matmul(from.Transposed(), Dense(x, s.rows, s.in), {da, Type::kF32}, false, round);
  Matmul(from, Dense(a, s.rank, s.in), dx, false, round);
}

}  // namespace lft
