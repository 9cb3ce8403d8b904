#include "tile_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tile_kernels_amx.h"
#include "tile_kernels_avx512.h"
#include "vector_math.h"

// The kernels of every processor, for f32.

namespace lft {
namespace {

// 2^x to a relative error of 2e-7, without a call.
inline float Exp2(float x) {
  x = x < -126.0f ? -126.0f : x;
  // The sum's low bits are the nearest integer.
  constexpr float kShift = 12582912.0f;
  float shifted = x + kShift, f = x - (shifted - kShift);
  float p = 1.327647198e-3f;
  p = p * f + 9.675541333e-3f;
  p = p * f + 5.550713274e-2f;
  p = p * f + 2.402211972e-1f;
  p = p * f + 6.931469671e-1f;
  p = p * f + 1.0f;
  uint32_t bits, exponent;
  std::memcpy(&bits, &p, 4);
  std::memcpy(&exponent, &shifted, 4);
  bits += exponent << 23;
  std::memcpy(&p, &bits, 4);
  return p;
}

template <int kCount>
inline __attribute__((always_inline)) void Block(const float* a, int64_t a_stride, const float* b, float* c, int64_t c_stride, int64_t depth,
                                                 bool accumulate) {
  float sum[kCount][kPanel];
  for (int r = 0; r < kCount; r++)
    for (int64_t j = 0; j < kPanel; j++) sum[r][j] = accumulate ? c[r * c_stride + j] : 0.0f;
  for (int64_t k = 0; k < depth; k++) {
    for (int r = 0; r < kCount; r++) {
      float factor = a[r * a_stride + k];
#pragma omp simd
      for (int64_t j = 0; j < kPanel; j++) sum[r][j] += factor * b[k * kPanel + j];
    }
  }
  for (int r = 0; r < kCount; r++)
    for (int64_t j = 0; j < kPanel; j++) c[r * c_stride + j] = sum[r][j];
}

LFT_DISPATCH void Product(const Word* left, int64_t a_stride, const Word* right, int64_t panel_stride, float* c, int64_t c_stride, int64_t rows,
                          int64_t depth, int64_t panels, bool accumulate) {
  auto* a = reinterpret_cast<const float*>(left);
  auto* b = reinterpret_cast<const float*>(right);
  for (int64_t p = 0; p < panels; p++) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      Block<4>(a + r * a_stride, a_stride, b + p * panel_stride, c + r * c_stride + p * kPanel, c_stride, depth, accumulate);
    }
    for (; r < rows; r++) Block<1>(a + r * a_stride, a_stride, b + p * panel_stride, c + r * c_stride + p * kPanel, c_stride, depth, accumulate);
  }
}

LFT_DISPATCH void Transpose(const Word* x, int64_t x_stride, Word* out, int64_t out_stride, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i += kPanel) {
    int64_t count = std::min(kPanel, rows - i);
    for (int64_t j = 0; j < columns; j++) {
      Word* to = out + j * out_stride + i;
      for (int64_t k = 0; k < count; k++) to[k] = x[(i + k) * x_stride + j];
      for (int64_t k = count; k < kPanel; k++) to[k] = 0;
    }
  }
}

LFT_DISPATCH void PackRows(const void* x, int64_t x_stride, Word* panels, int64_t panel_stride, int64_t rows, int64_t width) {
  for (int64_t j = 0; j < width; j += kPanel) {
    int64_t count = std::min(kPanel, width - j);
    for (int64_t i = 0; i < rows; i++) {
      const Word* from = static_cast<const Word*>(x) + i * x_stride + j;
      Word* to = panels + j / kPanel * panel_stride + i * kPanel;
      if (count == kPanel) {
#pragma omp simd
        for (int64_t k = 0; k < kPanel; k++) to[k] = from[k];
      } else {
        for (int64_t k = 0; k < kPanel; k++) to[k] = k < count ? from[k] : 0;
      }
    }
  }
}

LFT_DISPATCH void Softmax(float* scores, int64_t stride, const Range* ranges, float scale, RowState& state, Word*, int64_t,
                          int64_t panels) {
  for (int64_t r = 0; r < kRows; r++) {
    float* row = scores + r * stride;
    int64_t columns = panels * kPanel, begin = ranges[r].begin, end = ranges[r].end;
    float before = state.maximum[r], maximum = before;
#pragma omp simd reduction(max : maximum)
    for (int64_t j = begin; j < end; j++) maximum = row[j] * scale > maximum ? row[j] * scale : maximum;
    state.maximum[r] = maximum;
    state.factor[r] = before == maximum ? 1.0f : std::exp2(before - maximum);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = begin; j < end; j++) {
      float e = Exp2(row[j] * scale - maximum);
      row[j] = e;
      sum += e;
    }
    std::memset(row, 0, begin * sizeof(float));
    std::memset(row + end, 0, (columns - end) * sizeof(float));
    state.sum[r] = state.sum[r] * state.factor[r] + sum;
  }
}

LFT_DISPATCH void Gradient(float* scores, float* dp, int64_t stride, const Range* ranges, float scale, const float* log_sum, const float* delta,
                           Word*, Word*, int64_t, Word*, int64_t, int64_t rows, int64_t panels) {
  for (int64_t r = 0; r < rows; r++) {
    float *p = scores + r * stride, *ds = dp + r * stride;
    int64_t columns = panels * kPanel, begin = std::clamp<int64_t>(ranges[r].begin, 0, columns);
    int64_t end = std::clamp<int64_t>(ranges[r].end, begin, columns);
#pragma omp simd
    for (int64_t j = begin; j < end; j++) {
      p[j] = Exp2(p[j] * scale - log_sum[j]);
      ds[j] = p[j] * (ds[j] - delta[j]);
    }
    for (float* row : {p, ds}) {
      std::memset(row, 0, begin * sizeof(float));
      std::memset(row + end, 0, (columns - end) * sizeof(float));
    }
  }
}

LFT_DISPATCH void Finish(const float* x, int64_t x_stride, int64_t parts, int64_t part_stride, const float* factor, void* out,
                         int64_t out_stride, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++) {
    const float* from = x + r * x_stride;
    float *to = static_cast<float*>(out) + r * out_stride, scale = factor[r];
#pragma omp simd
    for (int64_t j = 0; j < width; j++) to[j] = from[j] * scale;
    for (int64_t part = 1; part < parts; part++) {
#pragma omp simd
      for (int64_t j = 0; j < width; j++) to[j] += from[part * part_stride + j] * scale;
    }
  }
}

LFT_DISPATCH void Dot(const void* a, int64_t a_stride, const void* b, int64_t b_stride, float* out, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++) {
    auto *x = static_cast<const float*>(a) + r * a_stride, *y = static_cast<const float*>(b) + r * b_stride;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < width; j++) sum += x[j] * y[j];
    out[r] = sum;
  }
}

LFT_DISPATCH void Mix(const Word* p, int64_t p_stride, const void* x, int64_t x_stride, float* c, int64_t c_stride, int64_t rows, int64_t depth,
                      int64_t width, bool accumulate) {
  for (int64_t r = 0; r < rows && !accumulate; r++) std::memset(c + r * c_stride, 0, width * sizeof(float));
  for (int64_t k = 0; k < depth; k++) {
    auto* row = static_cast<const float*>(x) + k * x_stride;
    for (int64_t r = 0; r < rows; r++) {
      float factor = reinterpret_cast<const float*>(p)[r * p_stride + k];
#pragma omp simd
      for (int64_t j = 0; j < width; j++) c[r * c_stride + j] += factor * row[j];
    }
  }
}

const TileKernels kPortable = {Type::kF32, 1, kRows, nullptr, nullptr, Product, Transpose, PackRows, Softmax, Gradient, Finish, Dot, Mix};

}  // namespace

const TileKernels* ChooseTileKernels(Type type, int64_t width) {
  // Words of bf16 are read where the heads lie: those of an odd width would straddle them.
  if (type == Type::kBf16 && width % 2 != 0) return nullptr;
#if defined(__x86_64__)
  const TileKernels* units = type == Type::kBf16 ? AmxTileKernels() : nullptr;
  if (units != nullptr) return units;
  if (const TileKernels* kernels = Avx512TileKernels(type)) return kernels;
#endif
  return type == Type::kF32 ? &kPortable : nullptr;
}

}  // namespace lft
