#include "tile_kernels_avx512.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <limits>

// f32 and bf16 share the code; instructions of the bf16 units come from the kernels for bf16 alone.
#define LFT_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace lft {
namespace {

LFT_AVX512 inline __mmask16 FirstLanes(int64_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

LFT_AVX512 inline __mmask16 LanesOf(const Range& range, int64_t column) {
  return FirstLanes(range.end - column) & static_cast<__mmask16>(~FirstLanes(range.begin - column));
}

template <Type type>
LFT_AVX512 inline __m512 MultiplyAdd(__m512 sum, __m512i a, __m512i b) {
  if constexpr (type == Type::kBf16) return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh&>(a), reinterpret_cast<__m512bh&>(b));
  return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
}

template <Type type, int kCount, int kWide>
LFT_AVX512 inline void Block(const Word* a, int64_t a_stride, const Word* b, int64_t panel_stride, float* c, int64_t c_stride, int64_t depth,
                             bool accumulate) {
  __m512 sum[kCount][kWide];
  float* row = c;
#pragma GCC unroll 8
  for (int r = 0; r < kCount; r++, row += c_stride)
#pragma GCC unroll 8
    for (int w = 0; w < kWide; w++) sum[r][w] = accumulate ? _mm512_loadu_ps(row + w * kPanel) : _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; k++) {
    __m512i right[kWide];
#pragma GCC unroll 8
    for (int w = 0; w < kWide; w++) right[w] = _mm512_loadu_si512(b + w * panel_stride + k * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < kCount; r++) {
      __m512i left = _mm512_set1_epi32(static_cast<int>(a[r * a_stride + k]));
#pragma GCC unroll 8
      for (int w = 0; w < kWide; w++) sum[r][w] = MultiplyAdd<type>(sum[r][w], left, right[w]);
    }
  }
  // Or else the addresses of all rows are kept through the loop.
  __asm__("" : "+r"(c));
#pragma GCC unroll 8
  for (int r = 0; r < kCount; r++, c += c_stride)
#pragma GCC unroll 8
    for (int w = 0; w < kWide; w++) _mm512_storeu_ps(c + w * kPanel, sum[r][w]);
}

template <Type type, int kCount>
LFT_AVX512 void RowsProduct(const Word* a, int64_t a_stride, const Word* b, int64_t panel_stride, float* c, int64_t c_stride, int64_t depth,
                            int64_t panels, bool accumulate) {
  int64_t p = 0;
  for (; p + 2 <= panels; p += 2) {
    Block<type, kCount, 2>(a, a_stride, b + p * panel_stride, panel_stride, c + p * kPanel, c_stride, depth, accumulate);
  }
  if (p < panels) Block<type, kCount, 1>(a, a_stride, b + p * panel_stride, panel_stride, c + p * kPanel, c_stride, depth, accumulate);
}

template <Type type>
void Product(const Word* a, int64_t a_stride, const Word* b, int64_t panel_stride, float* c, int64_t c_stride, int64_t rows, int64_t depth,
             int64_t panels, bool accumulate) {
  constexpr decltype(&RowsProduct<type, 1>) kByRows[kRows] = {RowsProduct<type, 1>, RowsProduct<type, 2>, RowsProduct<type, 3>, RowsProduct<type, 4>,
                                                              RowsProduct<type, 5>, RowsProduct<type, 6>, RowsProduct<type, 7>, RowsProduct<type, 8>};
  kByRows[rows - 1](a, a_stride, b, panel_stride, c, c_stride, depth, panels, accumulate);
}

// 16 × 16 words; kWhole: all rows and columns are there, else as many as are given.
template <bool kWhole>
LFT_AVX512 inline void TransposeBlock(const Word* x, int64_t x_stride, Word* out, int64_t out_stride, int64_t rows, int64_t columns) {
  __m512i r[16], s[16];
#pragma GCC unroll 16
  for (int k = 0; k < 16; k++, x += x_stride) {
    if constexpr (kWhole) r[k] = _mm512_loadu_si512(x);
    else r[k] = _mm512_maskz_loadu_epi32(k < rows ? FirstLanes(columns) : 0, x);
  }
#pragma GCC unroll 16
  for (int k = 0; k < 16; k += 2) {
    s[k] = _mm512_unpacklo_epi32(r[k], r[k + 1]);
    s[k + 1] = _mm512_unpackhi_epi32(r[k], r[k + 1]);
  }
#pragma GCC unroll 16
  for (int k = 0; k < 16; k += 4) {
    r[k] = _mm512_unpacklo_epi64(s[k], s[k + 2]);
    r[k + 1] = _mm512_unpackhi_epi64(s[k], s[k + 2]);
    r[k + 2] = _mm512_unpacklo_epi64(s[k + 1], s[k + 3]);
    r[k + 3] = _mm512_unpackhi_epi64(s[k + 1], s[k + 3]);
  }
  // Lane l of r[4g + k] is column 4l + k of rows 4g to 4g + 3.
#pragma GCC unroll 16
  for (int k = 0; k < 4; k++) {
    __m512i even = _mm512_shuffle_i32x4(r[k], r[4 + k], 0x88), odd = _mm512_shuffle_i32x4(r[k], r[4 + k], 0xdd);
    __m512i even2 = _mm512_shuffle_i32x4(r[8 + k], r[12 + k], 0x88), odd2 = _mm512_shuffle_i32x4(r[8 + k], r[12 + k], 0xdd);
    s[k] = _mm512_shuffle_i32x4(even, even2, 0x88);
    s[k + 4] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
    s[k + 8] = _mm512_shuffle_i32x4(even, even2, 0xdd);
    s[k + 12] = _mm512_shuffle_i32x4(odd, odd2, 0xdd);
  }
#pragma GCC unroll 16
  for (int k = 0; k < 16; k++, out += out_stride)
    if (kWhole || k < columns) _mm512_storeu_si512(out, s[k]);
}

LFT_AVX512 void Transpose(const Word* x, int64_t x_stride, Word* out, int64_t out_stride, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i += 16) {
    for (int64_t j = 0; j < columns; j += 16) {
      const Word* from = x + i * x_stride + j;
      Word* to = out + j * out_stride + i;
      if (rows - i >= 16 && columns - j >= 16) TransposeBlock<true>(from, x_stride, to, out_stride, 16, 16);
      else TransposeBlock<false>(from, x_stride, to, out_stride, rows - i, columns - j);
    }
  }
}

// Takes every other bf16 from either of two rows: pairs of their columns 0 to 15, and 16 to 31.
LFT_AVX512 inline __m512i LowPairs(__m512i first, __m512i second) {
  const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33,
                                         1, 32, 0);
  return _mm512_permutex2var_epi16(first, order, second);
}
LFT_AVX512 inline __m512i HighPairs(__m512i first, __m512i second) {
  const __m512i order = _mm512_set_epi16(63, 31, 62, 30, 61, 29, 60, 28, 59, 27, 58, 26, 57, 25, 56, 24, 55, 23, 54, 22, 53, 21, 52, 20, 51, 19, 50,
                                         18, 49, 17, 48, 16);
  return _mm512_permutex2var_epi16(first, order, second);
}

template <Type type>
LFT_AVX512 void PackRows(const void* x, int64_t x_stride, Word* panels, int64_t panel_stride, int64_t rows, int64_t width) {
  if constexpr (type == Type::kBf16) {
    for (int64_t j = 0; j < width; j += 2 * kPanel) {
      auto* in = static_cast<const uint16_t*>(x) + j;
      Word* out = panels + j / kPanel * panel_stride;
      __mmask32 mask = width - j >= 32 ? ~0u : (1u << (width - j)) - 1;
      for (int64_t i = 0; i < rows; i += 2) {
        __m512i first = _mm512_maskz_loadu_epi16(mask, in + i * x_stride);
        __m512i second = _mm512_maskz_loadu_epi16(i + 1 < rows ? mask : 0, in + (i + 1) * x_stride);
        _mm512_storeu_si512(out + i / 2 * kPanel, LowPairs(first, second));
        if (j + kPanel < width) _mm512_storeu_si512(out + panel_stride + i / 2 * kPanel, HighPairs(first, second));
      }
    }
  } else {
    for (int64_t j = 0; j < width; j += kPanel) {
      __mmask16 mask = FirstLanes(width - j);
      auto* in = static_cast<const float*>(x) + j;
      Word* out = panels + j / kPanel * panel_stride;
      for (int64_t i = 0; i < rows; i++) _mm512_storeu_ps(out + i * kPanel, _mm512_maskz_loadu_ps(mask, in + i * x_stride));
    }
  }
}

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

LFT_AVX512 inline __m512i Rounded(__m512 low, __m512 high) {
  __m512bh both = _mm512_cvtne2ps_pbh(high, low);
  return reinterpret_cast<__m512i&>(both);
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

struct Maximum {
  LFT_AVX512 static inline __m512 Of(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
};
struct Sum {
  LFT_AVX512 static inline __m512 Of(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
};

// The lanes of each of 8 vectors made one value.
template <class Operation>
LFT_AVX512 inline __m256 ReduceRows(const __m512* x) {
  __m512 halves[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    const __m512* row = x + 4 * i;
    __m512 a = Operation::Of(_mm512_unpacklo_ps(row[0], row[1]), _mm512_unpackhi_ps(row[0], row[1]));
    __m512 b = Operation::Of(_mm512_unpacklo_ps(row[2], row[3]), _mm512_unpackhi_ps(row[2], row[3]));
    __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
    halves[i] = Operation::Of(_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)), _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
  }
  __m512 both = Operation::Of(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88), _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
  both = Operation::Of(both, _mm512_shuffle_f32x4(both, both, 0xb1));
  return _mm512_castps512_ps256(_mm512_shuffle_f32x4(both, both, 0x08));
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
LFT_AVX512 inline void ExponentialOf(__m512* sum, const float* scores, int64_t stride, const Range* ranges, const __m512* offset, __m512 scale, Word* p,
                                     int64_t p_stride, int64_t column) {
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

LFT_AVX512 inline __m512 SumOf(const float* x, int64_t parts, int64_t part_stride, __m512 factor) {
  __m512 sum = _mm512_loadu_ps(x);
  for (int64_t part = 1; part < parts; part++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + part * part_stride));
  return _mm512_mul_ps(sum, factor);
}

template <Type type>
LFT_AVX512 void Finish(const float* x, int64_t x_stride, int64_t parts, int64_t part_stride, const float* factor, void* out, int64_t out_stride,
                       int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++) {
    const float* row = x + r * x_stride;
    const __m512 scale = _mm512_set1_ps(factor[r]);
    int64_t j = 0;
    if constexpr (type == Type::kBf16) {
      auto* to = static_cast<uint16_t*>(out) + r * out_stride;
      for (; j + 32 <= width; j += 32) {
        _mm512_storeu_si512(to + j, Rounded(SumOf(row + j, parts, part_stride, scale), SumOf(row + j + 16, parts, part_stride, scale)));
      }
      for (; j < width; j += 16) {
        __m256bh rounded = _mm512_cvtneps_pbh(SumOf(row + j, parts, part_stride, scale));
        _mm256_mask_storeu_epi16(to + j, FirstLanes(width - j), reinterpret_cast<__m256i&>(rounded));
      }
    } else {
      auto* to = static_cast<float*>(out) + r * out_stride;
      for (; j + 16 <= width; j += 16) _mm512_storeu_ps(to + j, SumOf(row + j, parts, part_stride, scale));
      if (j < width) _mm512_mask_storeu_ps(to + j, FirstLanes(width - j), SumOf(row + j, parts, part_stride, scale));
    }
  }
}

template <Type type>
LFT_AVX512 inline __m512 Load(const void* x, int64_t at) {
  if constexpr (type == Type::kBf16) {
    __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(x) + at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  return _mm512_loadu_ps(static_cast<const float*>(x) + at);
}

template <Type type>
LFT_AVX512 inline __m512 LoadFirst(const void* x, int64_t at, int64_t count) {
  if constexpr (type == Type::kBf16) {
    __m256i half = _mm256_maskz_loadu_epi16(FirstLanes(count), static_cast<const uint16_t*>(x) + at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  return _mm512_maskz_loadu_ps(FirstLanes(count), static_cast<const float*>(x) + at);
}

template <Type type>
LFT_AVX512 void Dot(const void* a, const void* b, int64_t stride, float* out, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r += kRows) {
    __m512 sum[kRows];
    int64_t count = std::min(kRows, rows - r);
    for (int64_t i = 0; i < kRows; i++) sum[i] = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; i++) {
      int64_t at = (r + i) * stride, j = 0;
      __m512 own = sum[i];
      for (; j + 16 <= width; j += 16) own = _mm512_fmadd_ps(Load<type>(a, at + j), Load<type>(b, at + j), own);
      if (j < width) own = _mm512_fmadd_ps(LoadFirst<type>(a, at + j, width - j), LoadFirst<type>(b, at + j, width - j), own);
      sum[i] = own;
    }
    _mm256_mask_storeu_ps(out + r, static_cast<__mmask8>(FirstLanes(count)), ReduceRows<Sum>(sum));
  }
}

template <Type type>
constexpr TileKernels kKernels = {type,
                                  type == Type::kBf16 ? 2 : 1,
                                  Product<type>,
                                  Transpose,
                                  PackRows<type>,
                                  Softmax<type>,
                                  type == Type::kBf16 ? GradientBf16 : GradientF32,
                                  Finish<type>,
                                  Dot<type>};

}  // namespace

const TileKernels* Avx512TileKernels(Type type) {
  static const bool vectors = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                              __builtin_cpu_supports("avx512vl");
  static const bool units = vectors && __builtin_cpu_supports("avx512bf16");
  if (type == Type::kBf16) return units ? &kKernels<Type::kBf16> : nullptr;
  return vectors ? &kKernels<Type::kF32> : nullptr;
}

}  // namespace lft
#endif
