#pragma once
#include <immintrin.h>

#include <cstdint>

#include "values.h"

// What kernels for AVX-512 share that ask for no unit of bf16 or int8.
#define LFT_VECTORS __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

namespace lft {

inline bool HasVectors() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl");
  return has;
}

LFT_VECTORS inline __mmask16 FirstLanes(int64_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// 16 values from `at` on, as f32; zeros where the mask has none.
template <Type type>
LFT_VECTORS inline __m512 LoadValues(const void* x, int64_t at, __mmask16 mask) {
  if constexpr (type == Type::kF32) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(x) + at);
  __m512i half = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + at));
  return _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
}

// To the nearest bf16, ties to even; any NaN becomes the quiet one.
LFT_VECTORS inline __m256i RoundedToBf16(__m512 value) {
  __m512i bits = _mm512_castps_si512(value);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc0)));
}

template <Type type>
LFT_VECTORS inline void StoreValues(void* x, int64_t at, __mmask16 mask, __m512 values) {
  if constexpr (type == Type::kF32) _mm512_mask_storeu_ps(static_cast<float*>(x) + at, mask, values);
  else _mm256_mask_storeu_epi16(static_cast<uint16_t*>(x) + at, mask, RoundedToBf16(values));
}

// 16 vectors of 16 words, transposed.
LFT_VECTORS inline void Transpose16(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

}  // namespace lft
