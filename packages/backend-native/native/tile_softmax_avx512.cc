#if defined(__x86_64__)
#include <algorithm>
#include <limits>

#include "avx512.h"
#include "tile_kernels_avx512.h"

namespace lft {
namespace {

// 2^x to a relative error of 1.5e-7.
LFT_AVX512 inline __m512 Exp2(__m512 x) {
  __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.327647198e-3f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.675541333e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550713274e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.402211972e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931469671e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// Two panels of a row of values as words.
template <Type type>
LFT_AVX512 inline void StoreWords(Word* row, int64_t column, __m512 low, __m512 high) {
  if constexpr (type == Type::kBf16) {
    _mm512_storeu_si512(row + column / 2, Rounded(low, high));
  } else {
    _mm512_storeu_ps(row + column, low);
    _mm512_storeu_ps(row + column + kPanel, high);
  }
}

// Panel j of rows, where it counts.
template <bool kMasked>
LFT_AVX512 inline void MaximumOf(__m512* maximum, const float* scores, int64_t stride, const Range* ranges, int64_t column) {
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; r++) {
    __m512 x = _mm512_loadu_ps(scores + r * stride + column);
    maximum[r] = kMasked ? _mm512_mask_max_ps(maximum[r], LanesOf(ranges[r], column), maximum[r], x) : _mm512_max_ps(maximum[r], x);
  }
}

template <Type type, bool kMasked>
LFT_AVX512 inline void ExponentialOf(__m512* sum, const float* scores, int64_t stride, const Range* ranges, const __m512* offset,
                                     __m512 scale, Word* p, int64_t p_stride, int64_t column) {
#pragma GCC unroll 4
  for (int64_t r = 0; r < 4; r++) {
    const float* row = scores + r * stride + column;
    __m512 low = Exp2(_mm512_fmsub_ps(_mm512_loadu_ps(row), scale, offset[r]));
    __m512 high = Exp2(_mm512_fmsub_ps(_mm512_loadu_ps(row + kPanel), scale, offset[r]));
    if constexpr (kMasked) {
      low = _mm512_maskz_mov_ps(LanesOf(ranges[r], column), low);
      high = _mm512_maskz_mov_ps(LanesOf(ranges[r], column + kPanel), high);
    }
    sum[r] = _mm512_add_ps(sum[r], _mm512_add_ps(low, high));
    StoreWords<type>(p + r * p_stride, column, low, high);
  }
}

template <Type type>
LFT_AVX512 void Softmax(float* scores, int64_t stride, const Range* ranges, float scale, RowState& state, Word* p, int64_t p_stride, int64_t panels) {
  // Columns [whole_begin, whole_end), in pairs of panels, count for all rows.
  int64_t begin = 0, end = panels * kPanel;
  for (int64_t r = 0; r < kRows; r++) begin = std::max(begin, ranges[r].begin), end = std::min(end, ranges[r].end);
  int64_t columns = (panels + 1) / 2 * 32, whole_begin = std::min((begin + 31) / 32 * 32, columns), whole_end = std::max(whole_begin, end / 32 * 32);

  __m512 lanes[kRows];
  for (int64_t r = 0; r < kRows; r++) lanes[r] = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  int64_t j = 0;
  for (; j < whole_begin; j += kPanel) MaximumOf<true>(lanes, scores, stride, ranges, j);
  for (; j < whole_end; j += kPanel) MaximumOf<false>(lanes, scores, stride, ranges, j);
  for (; j < columns; j += kPanel) MaximumOf<true>(lanes, scores, stride, ranges, j);
  __m256 before = _mm256_loadu_ps(state.maximum), maximum = _mm256_max_ps(before, _mm256_mul_ps(ReduceRows<Maximum>(lanes), _mm256_set1_ps(scale)));
  _mm256_storeu_ps(state.maximum, maximum);
  __mmask8 same = _mm256_cmp_ps_mask(before, maximum, _CMP_EQ_OQ);
  __m256 factor = _mm256_mask_mov_ps(_mm512_castps512_ps256(Exp2(_mm512_castps256_ps512(_mm256_sub_ps(before, maximum)))), same, _mm256_set1_ps(1));
  _mm256_storeu_ps(state.factor, factor);

  for (int64_t r = 0; r < kRows; r += 4) {
    __m512 sum[4], offset[4];
    for (int64_t i = 0; i < 4; i++) sum[i] = _mm512_setzero_ps(), offset[i] = _mm512_set1_ps(state.maximum[r + i]);
    const float* rows = scores + r * stride;
    Word* out = p + r * p_stride;
    j = 0;
    for (; j < whole_begin; j += 32) ExponentialOf<type, true>(sum, rows, stride, ranges + r, offset, _mm512_set1_ps(scale), out, p_stride, j);
    for (; j < whole_end; j += 32) ExponentialOf<type, false>(sum, rows, stride, ranges + r, offset, _mm512_set1_ps(scale), out, p_stride, j);
    for (; j < columns; j += 32) ExponentialOf<type, true>(sum, rows, stride, ranges + r, offset, _mm512_set1_ps(scale), out, p_stride, j);
    for (int64_t i = 0; i < 4; i++) lanes[r + i] = sum[i];
  }
  _mm256_storeu_ps(state.sum, _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(state.sum), factor), ReduceRows<Sum>(lanes)));
}

struct Probability {
  __m512 p, ds;
};
template <bool kMasked>
LFT_AVX512 inline Probability GradientOf(const float* score, const float* dp, __m512 scale, __m512 log_sum, __m512 delta, const Range& range,
                                         int64_t column) {
  __m512 p = Exp2(_mm512_fmsub_ps(_mm512_loadu_ps(score + column), scale, log_sum)), difference = _mm512_sub_ps(_mm512_loadu_ps(dp + column), delta);
  if constexpr (!kMasked) return {p, _mm512_mul_ps(p, difference)};
  __mmask16 mask = LanesOf(range, column);
  return {_mm512_maskz_mov_ps(mask, p), _mm512_maskz_mul_ps(mask, p, difference)};
}

LFT_AVX512 void GradientF32(float* scores, float* dp, int64_t stride, const Range* ranges, float scale, const float* log_sum, const float* delta,
                            Word*, Word*, int64_t, Word*, int64_t, int64_t rows, int64_t panels) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < rows; r++) {
    float *score = scores + r * stride, *gradient = dp + r * stride;
    for (int64_t column = 0; column < panels * kPanel; column += kPanel) {
      __m512 l = _mm512_loadu_ps(log_sum + column), d = _mm512_loadu_ps(delta + column);
      Probability x;
      if (ranges[r].begin <= column && column + kPanel <= ranges[r].end) x = GradientOf<false>(score, gradient, factor, l, d, ranges[r], column);
      else x = GradientOf<true>(score, gradient, factor, l, d, ranges[r], column);
      _mm512_storeu_ps(score + column, x.p);
      _mm512_storeu_ps(gradient + column, x.ds);
    }
  }
}

// Two panels of a pair of rows: to P and dS in pairs of columns, and dS in pairs of rows.
template <bool kMasked>
LFT_AVX512 inline void GradientPairs(const float* scores, const float* dp, int64_t stride, const Range* ranges, __m512 scale, const float* log_sum,
                                     const float* delta, Word* p, Word* ds, int64_t word_stride, Word* ds_pairs, int64_t column) {
  __m512 low_sum = _mm512_loadu_ps(log_sum + column), high_sum = _mm512_loadu_ps(log_sum + column + kPanel);
  __m512 low_delta = _mm512_loadu_ps(delta + column), high_delta = _mm512_loadu_ps(delta + column + kPanel);
  __m512i rounded[2];
#pragma GCC unroll 2
  for (int64_t r = 0; r < 2; r++) {
    const float *score = scores + r * stride, *gradient = dp + r * stride;
    Probability low = GradientOf<kMasked>(score, gradient, scale, low_sum, low_delta, ranges[r], column);
    Probability high = GradientOf<kMasked>(score, gradient, scale, high_sum, high_delta, ranges[r], column + kPanel);
    rounded[r] = Rounded(low.ds, high.ds);
    _mm512_storeu_si512(p + r * word_stride + column / 2, Rounded(low.p, high.p));
    _mm512_storeu_si512(ds + r * word_stride + column / 2, rounded[r]);
  }
  _mm512_storeu_si512(ds_pairs + column, LowPairs(rounded[0], rounded[1]));
  _mm512_storeu_si512(ds_pairs + column + kPanel, HighPairs(rounded[0], rounded[1]));
}

LFT_AVX512 void GradientBf16(float* scores, float* dp, int64_t stride, const Range* ranges, float scale, const float* log_sum, const float* delta,
                             Word* p, Word* ds, int64_t word_stride, Word* ds_pairs, int64_t pairs_stride, int64_t rows, int64_t panels) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < rows; r += 2) {
    int64_t begin = std::max(ranges[r].begin, ranges[r + 1].begin), end = std::min(ranges[r].end, ranges[r + 1].end);
    const float *score = scores + r * stride, *gradient = dp + r * stride;
    Word *p_row = p + r * word_stride, *ds_row = ds + r * word_stride, *pairs = ds_pairs + r / 2 * pairs_stride;
    for (int64_t column = 0; column < panels * kPanel; column += 2 * kPanel) {
      if (begin <= column && column + 2 * kPanel <= end) {
        GradientPairs<false>(score, gradient, stride, ranges + r, factor, log_sum, delta, p_row, ds_row, word_stride, pairs, column);
      } else {
        GradientPairs<true>(score, gradient, stride, ranges + r, factor, log_sum, delta, p_row, ds_row, word_stride, pairs, column);
      }
    }
  }
}

}  // namespace

void SetAvx512Softmax(TileKernels& kernels) {
  bool pairs = kernels.type == Type::kBf16;
  kernels.softmax = pairs ? Softmax<Type::kBf16> : Softmax<Type::kF32>;
  kernels.gradient = pairs ? GradientBf16 : GradientF32;
}

}  // namespace lft
#endif
