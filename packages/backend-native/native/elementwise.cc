#include "elementwise.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "vector_math.h"

namespace lft {
namespace {

constexpr int64_t kParallel = 32768;

#define LFT_UNARY(name, expression)                                                    \
  LFT_DISPATCH void name(const float* x, float* y, int64_t begin, int64_t end) {       \
    _Pragma("omp simd") for (int64_t i = begin; i < end; i++) y[i] = (expression);     \
  }

LFT_UNARY(NegRange, -x[i])
LFT_UNARY(ExpRange, Exp(x[i]))
LFT_UNARY(SqrtRange, std::sqrt(x[i]))
LFT_UNARY(RsqrtRange, 1.0f / std::sqrt(x[i]))
LFT_UNARY(SquareRange, x[i] * x[i])
LFT_UNARY(SigmoidRange, Sigmoid(x[i]))
LFT_UNARY(ReluRange, x[i] < 0 ? 0.0f : x[i])
LFT_UNARY(AbsRange, std::fabs(x[i]))
void LogRange(const float* x, float* y, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) y[i] = std::log(x[i]);
}
void TanhRange(const float* x, float* y, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) y[i] = std::tanh(x[i]);
}

#define LFT_BINARY(name, expression)                                                                                    \
  LFT_DISPATCH void name(const float* a, int64_t sa, const float* b, int64_t sb, float* out, int64_t count) {           \
    if (sa == 1 && sb == 1) {                                                                                           \
      _Pragma("omp simd") for (int64_t i = 0; i < count; i++) { float u = a[i], w = b[i]; out[i] = (expression); }      \
    } else if (sa == 1 && sb == 0) {                                                                                    \
      float w = *b;                                                                                                     \
      _Pragma("omp simd") for (int64_t i = 0; i < count; i++) { float u = a[i]; out[i] = (expression); }                \
    } else if (sa == 0 && sb == 1) {                                                                                    \
      float u = *a;                                                                                                     \
      _Pragma("omp simd") for (int64_t i = 0; i < count; i++) { float w = b[i]; out[i] = (expression); }                \
    } else {                                                                                                            \
      for (int64_t i = 0; i < count; i++) { float u = a[i * sa], w = b[i * sb]; out[i] = (expression); }                \
    }                                                                                                                   \
  }

LFT_BINARY(AddRow, u + w)
LFT_BINARY(SubRow, u - w)
LFT_BINARY(MulRow, u * w)
LFT_BINARY(DivRow, u / w)
// A NaN on either side stays a NaN.
LFT_BINARY(MaximumRow, u != u ? u : (w > u || w != w ? w : u))
LFT_BINARY(MinimumRow, u != u ? u : (w < u || w != w ? w : u))

using Row = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t);

// A row of any formats: bf16 values go through the first cache in parts.
void AnyRow(Row row, const Values& a, int64_t at_a, int64_t sa, const Values& b, int64_t at_b, int64_t sb, const Values& out, int64_t at_out,
            int64_t count) {
  if (a.type == Type::kF32 && b.type == Type::kF32 && out.type == Type::kF32) {
    return row(static_cast<float*>(a.data) + at_a, sa, static_cast<float*>(b.data) + at_b, sb, static_cast<float*>(out.data) + at_out, count);
  }
  alignas(64) float u[kPart], w[kPart], y[kPart];
  for (int64_t i = 0; i < count; i += kPart) {
    int64_t n = std::min(kPart, count - i);
    const float* from_a = Read(a, at_a + i * sa, sa == 0 ? 1 : n, u);
    const float* from_b = Read(b, at_b + i * sb, sb == 0 ? 1 : n, w);
    float* target = Target(out, at_out + i, y);
    row(from_a, sa, from_b, sb, target, n);
    Write(out, at_out + i, n, target);
  }
}

Row RowOf(Binary op) {
  switch (op) {
    case Binary::kAdd: return AddRow;
    case Binary::kSub: return SubRow;
    case Binary::kMul: return MulRow;
    case Binary::kDiv: return DivRow;
    case Binary::kMaximum: return MaximumRow;
    default: return MinimumRow;
  }
}

LFT_DISPATCH float SumRow(const float* x, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; i++) sum += x[i];
  return sum;
}

LFT_DISPATCH void SoftmaxRow(const float* x, float* y, int64_t n) {
  float max = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : max)
  for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) {
    y[i] = Exp(x[i] - max);
    sum += y[i];
  }
  float inverse = 1.0f / sum;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] *= inverse;
}

}  // namespace

void Apply(Unary op, const float* x, float* y, int64_t count) {
  static constexpr void (*kRanges[])(const float*, float*, int64_t, int64_t) = {NegRange,     ExpRange,     LogRange,  SqrtRange, RsqrtRange,
                                                                                SquareRange, SigmoidRange, TanhRange, ReluRange, AbsRange};
  auto range = kRanges[static_cast<int>(op)];
  if (count < kParallel) return range(x, y, 0, count);
#pragma omp parallel
  {
    int64_t threads = omp_get_num_threads(), t = omp_get_thread_num();
    range(x, y, count * t / threads, count * (t + 1) / threads);
  }
}

void Apply(Binary op, const Values& a, const Values& b, const Values& out, const int64_t* shape, const int64_t* a_strides, const int64_t* b_strides,
           int rank) {
  // Axes that lie next to each other in both operands become one.
  int64_t dims[8], sa[8], sb[8];
  int n = 0;
  for (int i = 0; i < rank; i++) {
    if (shape[i] == 1) continue;
    if (n > 0 && sa[n - 1] == a_strides[i] * shape[i] && sb[n - 1] == b_strides[i] * shape[i]) {
      dims[n - 1] *= shape[i];
    } else {
      dims[n++] = shape[i];
    }
    sa[n - 1] = a_strides[i];
    sb[n - 1] = b_strides[i];
  }
  if (n == 0) {
    dims[0] = sa[0] = sb[0] = 1;
    n = 1;
  }
  Row row = RowOf(op);
  int64_t inner = dims[n - 1], outer = 1;
  for (int i = 0; i + 1 < n; i++) outer *= dims[i];
  if (outer == 1) {
    if (inner < kParallel) return AnyRow(row, a, 0, sa[n - 1], b, 0, sb[n - 1], out, 0, inner);
#pragma omp parallel
    {
      int64_t threads = omp_get_num_threads(), t = omp_get_thread_num();
      int64_t begin = inner * t / threads, end = inner * (t + 1) / threads;
      AnyRow(row, a, begin * sa[n - 1], sa[n - 1], b, begin * sb[n - 1], sb[n - 1], out, begin, end - begin);
    }
    return;
  }
#pragma omp parallel for schedule(static) if (outer * inner >= kParallel)
  for (int64_t o = 0; o < outer; o++) {
    int64_t rest = o, at_a = 0, at_b = 0;
    for (int i = n - 2; i >= 0; i--) {
      int64_t index = rest % dims[i];
      rest /= dims[i];
      at_a += index * sa[i];
      at_b += index * sb[i];
    }
    AnyRow(row, a, at_a, sa[n - 1], b, at_b, sb[n - 1], out, o * inner, inner);
  }
}

void Reduce(Reduction op, const float* x, float* y, int64_t outer, int64_t inner) {
#pragma omp parallel for schedule(static) if (outer * inner >= kParallel)
  for (int64_t o = 0; o < outer; o++) {
    const float* row = x + o * inner;
    if (op == Reduction::kMax) {
      float max = row[0];
      for (int64_t i = 1; i < inner; i++) max = row[i] > max || row[i] != row[i] ? row[i] : max;
      y[o] = max;
    } else {
      double total = 0;
      for (int64_t i = 0; i < inner; i += 8192) total += SumRow(row + i, std::min<int64_t>(8192, inner - i));
      y[o] = static_cast<float>(op == Reduction::kMean ? total / inner : total);
    }
  }
}

void Softmax(const float* x, float* y, int64_t rows, int64_t columns) {
#pragma omp parallel for schedule(static) if (rows * columns >= kParallel)
  for (int64_t r = 0; r < rows; r++) SoftmaxRow(x + r * columns, y + r * columns, columns);
}

void Permute(const uint32_t* x, uint32_t* out, const int64_t* shape, const int64_t* strides, int rank) {
  int64_t inner = rank > 0 ? shape[rank - 1] : 1, step = rank > 0 ? strides[rank - 1] : 1, outer = 1;
  for (int i = 0; i + 1 < rank; i++) outer *= shape[i];
#pragma omp parallel for schedule(static) if (outer * inner >= kParallel)
  for (int64_t o = 0; o < outer; o++) {
    int64_t rest = o, at = 0;
    for (int i = rank - 2; i >= 0; i--) {
      at += rest % shape[i] * strides[i];
      rest /= shape[i];
    }
    uint32_t* target = out + o * inner;
    if (step == 1) std::memcpy(target, x + at, inner * 4);
    else for (int64_t i = 0; i < inner; i++) target[i] = x[at + i * step];
  }
}

}  // namespace lft
