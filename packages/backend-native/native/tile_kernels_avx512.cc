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
#pragma GCC unroll 8
  for (int r = 0; r < kCount; r++)
#pragma GCC unroll 8
    for (int w = 0; w < kWide; w++) sum[r][w] = accumulate ? _mm512_loadu_ps(c + r * c_stride + w * kPanel) : _mm512_setzero_ps();
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
#pragma GCC unroll 8
  for (int r = 0; r < kCount; r++)
#pragma GCC unroll 8
    for (int w = 0; w < kWide; w++) _mm512_storeu_ps(c + r * c_stride + w * kPanel, sum[r][w]);
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

LFT_AVX512 void Transpose(const Word* x, int64_t x_stride, Word* out, int64_t out_stride, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i += 16) {
    for (int64_t j = 0; j < columns; j += 16) {
      __mmask16 mask = FirstLanes(columns - j);
      __m512i r[16], s[16];
#pragma GCC unroll 16
      for (int k = 0; k < 16; k++) r[k] = i + k < rows ? _mm512_maskz_loadu_epi32(mask, x + (i + k) * x_stride + j) : _mm512_setzero_si512();
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
      for (int k = 0; k < 16; k++)
        if (j + k < columns) _mm512_storeu_si512(out + (j + k) * out_stride + i, s[k]);
    }
  }
}

template <Type type>
LFT_AVX512 void PackRows(const void* x, int64_t x_stride, Word* panels, int64_t panel_stride, int64_t rows, int64_t width) {
  for (int64_t j = 0; j < width; j += kPanel) {
    __mmask16 mask = FirstLanes(width - j);
    Word* out = panels + j / kPanel * panel_stride;
    if constexpr (type == Type::kBf16) {
      auto* in = static_cast<const uint16_t*>(x) + j;
      for (int64_t i = 0; i < rows; i += 2) {
        __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, in + i * x_stride));
        __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(i + 1 < rows ? mask : 0, in + (i + 1) * x_stride));
        _mm512_storeu_si512(out + i / 2 * kPanel, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
      }
    } else {
      auto* in = static_cast<const float*>(x) + j;
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

// 16 values into a row of words.
template <Type type>
LFT_AVX512 inline void StoreWords(Word* row, int64_t column, __m512 x) {
  if constexpr (type == Type::kBf16) {
    __m256bh rounded = _mm512_cvtneps_pbh(x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + column / 2), reinterpret_cast<__m256i&>(rounded));
  } else {
    _mm512_storeu_ps(reinterpret_cast<float*>(row + column), x);
  }
}

template <Type type>
LFT_AVX512 void Softmax(float* scores, int64_t stride, const Range* ranges, float scale, RowState& state, Word* p, int64_t p_stride, int64_t rows,
                        int64_t panels) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < rows; r++) {
    const float* row = scores + r * stride;
    Word* out = p + r * p_stride;
    int64_t begin = std::max<int64_t>(ranges[r].begin, 0), end = std::min(ranges[r].end, panels * kPanel);
    int64_t first = begin / kPanel, last = begin < end ? CountPanels(end) : first;
    __m512 lanes = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    for (int64_t j = first; j < last; j++) {
      __mmask16 mask = LanesOf({begin, end}, j * kPanel);
      lanes = _mm512_mask_max_ps(lanes, mask, lanes, _mm512_mul_ps(_mm512_loadu_ps(row + j * kPanel), factor));
    }
    float before = state.maximum[r], maximum = std::max(before, _mm512_reduce_max_ps(lanes));
    state.maximum[r] = maximum;
    state.factor[r] = before == maximum ? 1.0f : std::exp2(before - maximum);
    const __m512 offset = _mm512_set1_ps(maximum);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < panels; j++) {
      __m512 e = _mm512_setzero_ps();
      if (j >= first && j < last) {
        __mmask16 mask = LanesOf({begin, end}, j * kPanel);
        e = _mm512_maskz_mov_ps(mask, Exp2(_mm512_fmsub_ps(_mm512_loadu_ps(row + j * kPanel), factor, offset)));
        sum = _mm512_add_ps(sum, e);
      }
      StoreWords<type>(out, j * kPanel, e);
    }
    state.sum[r] = state.sum[r] * state.factor[r] + _mm512_reduce_add_ps(sum);
  }
}

template <Type type>
LFT_AVX512 void Gradient(float* scores, float* dp, int64_t stride, const Range* ranges, float scale, const float* log_sum, const float* delta,
                         Word* p, Word* ds, int64_t word_stride, Word* ds_pairs, int64_t pairs_stride, int64_t rows, int64_t panels) {
  const __m512 factor = _mm512_set1_ps(scale);
  // The rows of a pair, turned into pairs of a row.
  const __m512i interleaved = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                               18, 2, 17, 1, 16, 0);
  constexpr int64_t kStep = type == Type::kBf16 ? 2 : 1;
  for (int64_t r = 0; r < rows; r += kStep) {
    for (int64_t j = 0; j < panels; j++) {
      int64_t column = j * kPanel;
      __m512 l = _mm512_loadu_ps(log_sum + column), d = _mm512_loadu_ps(delta + column), gradient[kStep];
#pragma GCC unroll 2
      for (int64_t i = 0; i < kStep; i++) {
        gradient[i] = _mm512_setzero_ps();
        if (r + i >= rows) break;
        __mmask16 mask = LanesOf(ranges[r + i], column);
        int64_t at = (r + i) * stride + column;
        __m512 e = _mm512_maskz_mov_ps(mask, Exp2(_mm512_fmsub_ps(_mm512_loadu_ps(scores + at), factor, l)));
        gradient[i] = _mm512_maskz_mul_ps(mask, e, _mm512_sub_ps(_mm512_loadu_ps(dp + at), d));
        StoreWords<type>(p + (r + i) * word_stride, column, e);
        StoreWords<type>(ds + (r + i) * word_stride, column, gradient[i]);
      }
      if constexpr (type == Type::kBf16) {
        __m512bh both = _mm512_cvtne2ps_pbh(gradient[1], gradient[0]);
        _mm512_storeu_si512(ds_pairs + r / 2 * pairs_stride + column, _mm512_permutexvar_epi16(interleaved, reinterpret_cast<__m512i&>(both)));
      }
    }
  }
}

template <Type type>
LFT_AVX512 void Finish(const float* x, int64_t x_stride, int64_t parts, int64_t part_stride, const float* factor, void* out, int64_t out_stride,
                       int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t j = 0; j < width; j += 16) {
      __mmask16 mask = FirstLanes(width - j);
      __m512 sum = _mm512_loadu_ps(x + r * x_stride + j);
      for (int64_t part = 1; part < parts; part++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + part * part_stride + r * x_stride + j));
      sum = _mm512_mul_ps(sum, _mm512_set1_ps(factor[r]));
      if constexpr (type == Type::kBf16) {
        __m256bh rounded = _mm512_cvtneps_pbh(sum);
        _mm256_mask_storeu_epi16(static_cast<uint16_t*>(out) + r * out_stride + j, mask, reinterpret_cast<__m256i&>(rounded));
      } else {
        _mm512_mask_storeu_ps(static_cast<float*>(out) + r * out_stride + j, mask, sum);
      }
    }
  }
}

template <Type type>
LFT_AVX512 inline __m512 Load(const void* x, int64_t at, __mmask16 mask) {
  if constexpr (type == Type::kBf16) {
    __m256i half = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(x) + at);
}

template <Type type>
LFT_AVX512 void Dot(const void* a, const void* b, int64_t stride, float* out, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < width; j += 16) {
      __mmask16 mask = FirstLanes(width - j);
      sum = _mm512_fmadd_ps(Load<type>(a, r * stride + j, mask), Load<type>(b, r * stride + j, mask), sum);
    }
    out[r] = _mm512_reduce_add_ps(sum);
  }
}

template <Type type>
constexpr TileKernels kKernels = {type,          type == Type::kBf16 ? 2 : 1, Product<type>, Transpose, PackRows<type>,
                                  Softmax<type>, Gradient<type>,              Finish<type>,  Dot<type>};

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
