#include "low_rank.h"

#include "memory.h"

namespace lft {
namespace {

constexpr int kGradientSlot = 7;

Matrix Dense(const Values& x, int64_t rows, int64_t columns) { return {x.data, x.type, rows, columns, columns, 1}; }
Matrix Dense(const float* x, int64_t rows, int64_t columns) { return {x, Type::kF32, rows, columns, columns, 1}; }

// Scaled in place, and rounded to the given type.
void ScaleInto(float* x, float factor, const Values& y, int64_t count) {
  for (int64_t i = 0; i < count; i++) x[i] *= factor;
  if (y.type == Type::kBf16) ToBf16(x, static_cast<uint16_t*>(y.data), count);
}

}  // namespace

void LowRank(const Values& x, const float* a, const float* b, const Values& low, const Values& y, const LowRankShape& s, bool round) {
  round = round || x.type == Type::kBf16;
  int64_t count = s.rows * s.rank;
  auto* sum = static_cast<float*>(low.type == Type::kF32 ? low.data : Scratch(kGradientSlot, count * sizeof(float)));
  Matmul(Dense(x, s.rows, s.in), Dense(a, s.rank, s.in).Transposed(), {sum, Type::kF32}, false, round);
  ScaleInto(sum, s.scale, low, count);
  Matmul(Dense(low, s.rows, s.rank), Dense(b, s.out, s.rank).Transposed(), y, true, round);
}

void LowRankGradients(const Values& dy, const Values& x, const float* a, const float* b, const Values& low, const Values& dx, float* da,
                      float* db, const LowRankShape& s, bool round) {
  round = round || low.type == Type::kBf16;
  int64_t count = s.rows * s.rank;
  auto* sum = static_cast<float*>(Scratch(kGradientSlot, count * sizeof(float) * 3 / 2));
  Matrix d = Dense(dy, s.rows, s.out);
  Matmul(d, Dense(b, s.out, s.rank), {sum, Type::kF32}, false, round);
  Values d_low = low.type == Type::kF32 ? Values{sum, Type::kF32} : Values{sum + count, Type::kBf16};
  ScaleInto(sum, s.scale, d_low, count);
  Matrix from = Dense(d_low, s.rows, s.rank);
  if (db != nullptr) Matmul(d.Transposed(), Dense(low, s.rows, s.rank), {db, Type::kF32}, false, round);
  if (da != nullptr) Matmul(from.Transposed(), Dense(x, s.rows, s.in), {da, Type::kF32}, false, round);
  if (dx.data != nullptr) Matmul(from, Dense(a, s.rank, s.in), dx, false, round);
}

}  // namespace lft
