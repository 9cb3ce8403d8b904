#pragma once
#include <immintrin.h>

#include <cstdint>

#include "tile_kernels.h"
#include "vectors_avx512.h"

// What the kernels for AVX-512 share. f32 and bf16 share the code; instructions of the bf16 units come from the kernels for bf16 alone.
#define LFT_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace lft {

LFT_AVX512 inline __mmask16 LanesOf(const Range& range, int64_t column) {
  return FirstLanes(range.end - column) & static_cast<__mmask16>(~FirstLanes(range.begin - column));
}

template <Type type>
LFT_AVX512 inline __m512 MultiplyAdd(__m512 sum, __m512i a, __m512i b) {
  if constexpr (type == Type::kBf16) return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh&>(a), reinterpret_cast<__m512bh&>(b));
  return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
}

// 16 words of a row, or as many as are left.
template <Type type>
LFT_AVX512 inline __m512i LoadWords(const void* x, int64_t at, int64_t values) {
  if constexpr (type == Type::kBf16) {
    auto* row = static_cast<const uint16_t*>(x) + at;
    return values >= 32 ? _mm512_loadu_si512(row) : _mm512_maskz_loadu_epi16((1u << values) - 1, row);
  }
  auto* row = static_cast<const float*>(x) + at;
  return values >= 16 ? _mm512_loadu_si512(row) : _mm512_maskz_loadu_epi32(FirstLanes(values), row);
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

LFT_AVX512 inline __m512i Rounded(__m512 low, __m512 high) {
  __m512bh both = _mm512_cvtne2ps_pbh(high, low);
  return reinterpret_cast<__m512i&>(both);
}

// bf16 of the lower and the upper half as f32.
LFT_AVX512 inline __m512 WidenedLower(__m512i x) {
  const __m512i order = _mm512_set_epi16(15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7, 0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);
  return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, order, x));
}
LFT_AVX512 inline __m512 WidenedUpper(__m512i x) {
  const __m512i order =
      _mm512_set_epi16(31, 0, 30, 0, 29, 0, 28, 0, 27, 0, 26, 0, 25, 0, 24, 0, 23, 0, 22, 0, 21, 0, 20, 0, 19, 0, 18, 0, 17, 0, 16, 0);
  return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, order, x));
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

}  // namespace lft
