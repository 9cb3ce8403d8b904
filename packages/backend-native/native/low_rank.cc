#include "low_rank.h"

#include "low_rank_blocks.h"
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

// Products with a few rows read the large operand once, in order; those with a few columns, or with a long transposed operand, do not. So low
// and its gradient lie transposed.

void LowRank(const Values& x, const float* a, const float* b, const Values& low, const Values& y, const LowRankShape& s, bool round) {
  if (LowRankBlocks(x, a, b, low, y, s)) return;
  round = round || x.type == Type::kBf16;
  int64_t count = s.rank * s.rows;
  auto* sum = static_cast<float*>(low.type == Type::kF32 ? low.data : Scratch(kGradientSlot, count * sizeof(float)));
  Matmul(Dense(a, s.rank, s.in), Dense(x, s.rows, s.in).Transposed(), {sum, Type::kF32}, false, round);
  ScaleInto(sum, s.scale, low, count);
  Matmul(Dense(low, s.rank, s.rows).Transposed(), Dense(b, s.out, s.rank).Transposed(), y, true, round);
}

void LowRankGradients(const Values& dy, const Values& x, const float* a, const float* b, const Values& low, const Values& dx, float* da,
                      float* db, bool adds, const LowRankShape& s, bool round) {
  if (LowRankBlocksGradients(dy, x, a, b, low, dx, da, db, adds, s)) return;
  round = round || low.type == Type::kBf16;
  int64_t count = s.rank * s.rows, values = s.rows * s.out;
  bool rounded = round && dy.type == Type::kF32;
  auto* sum = static_cast<float*>(Scratch(kGradientSlot, (count + s.rank * s.out) * sizeof(float) + (count + rounded * values) * BytesOf(Type::kBf16)));
  float* db_turned = sum + count;
  auto* low_rounded = reinterpret_cast<uint16_t*>(db_turned + s.rank * s.out);
  Values d_low = low.type == Type::kF32 ? Values{sum, Type::kF32} : Values{low_rounded, Type::kBf16};
  // Two products read it.
  Values from = rounded ? Values{low_rounded + count, Type::kBf16} : dy;
  if (rounded) ToBf16(static_cast<const float*>(dy.data), low_rounded + count, values);
  Matrix d = Dense(from, s.rows, s.out), inner = Dense(d_low, s.rank, s.rows);
  Matmul(Dense(b, s.out, s.rank).Transposed(), d.Transposed(), {sum, Type::kF32}, false, round);
  ScaleInto(sum, s.scale, d_low, count);
  if (db != nullptr) {
    Matmul(Dense(low, s.rank, s.rows), d, {db_turned, Type::kF32}, false, round);
    for (int64_t o = 0; o < s.out; o++)
      for (int64_t r = 0; r < s.rank; r++) db[o * s.rank + r] = db_turned[r * s.out + o];
  }
  if (da != nullptr) Matmul(inner, Dense(x, s.rows, s.in), {da, Type::kF32}, false, round);
  if (dx.data != nullptr) Matmul(inner.Transposed(), Dense(a, s.rank, s.in), dx, adds, round);
}

}  // namespace lft
