#include "adamw.h"

#if defined(__x86_64__)
#include "avx512.h"

namespace lft {
namespace {

LFT_AVX512 inline void StoreNearest(uint16_t* x, __mmask16 lanes, __m512 value) {
  __m256bh rounded = _mm512_cvtneps_pbh(value);
  _mm256_mask_storeu_epi16(x, lanes, reinterpret_cast<__m256i&>(rounded));
}

// With 16 random bits in each lane.
LFT_AVX512 inline void StoreRandomly(uint16_t* x, __mmask16 lanes, __m512 value, __m512i random) {
  __m512i bits = _mm512_add_epi32(_mm512_castps_si512(value), random);
  _mm256_mask_storeu_epi16(x, lanes, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}

LFT_AVX512 inline __m512i MixLanes(__m512i x) {
  x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), _mm512_set1_epi32(static_cast<int>(0x85ebca6b)));
  x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 13)), _mm512_set1_epi32(static_cast<int>(0xc2b2ae35)));
  return _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
}

}  // namespace

bool HasBf16AdamW() {
  static const bool has = HasVectors() && __builtin_cpu_supports("avx512bf16");
  return has;
}

LFT_AVX512 void AdamWBf16(uint16_t* p, uint16_t* m, uint16_t* v, const float* g, int64_t count, uint32_t key, const AdamWFactors& f, bool torch) {
  const __m512 b1 = _mm512_set1_ps(f.b1), c1 = _mm512_set1_ps(1.0f - f.b1), b2 = _mm512_set1_ps(f.b2), c2 = _mm512_set1_ps(1.0f - f.b2);
  const __m512 decay = _mm512_set1_ps(f.decay), rate = _mm512_set1_ps(f.rate), epsilon = _mm512_set1_ps(f.epsilon);
  // Without `torch` the correction is in the rate.
  const __m512 correction = _mm512_set1_ps(torch ? f.root_correction : 1.0f), two = _mm512_set1_ps(2.0f), tiny = _mm512_set1_ps(1e-36f);
  __m512i counter = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(key)), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  for (int64_t i = 0; i < count; i += 16) {
    __mmask16 lanes = FirstLanes(count - i);
    __m512 gradient = _mm512_maskz_loadu_ps(lanes, g + i);
    __m512 first = _mm512_fmadd_ps(b1, LoadValues<Type::kBf16>(m, i, lanes), _mm512_mul_ps(c1, gradient));
    __m512 second = _mm512_fmadd_ps(b2, LoadValues<Type::kBf16>(v, i, lanes), _mm512_mul_ps(c2, _mm512_mul_ps(gradient, gradient)));
    __m512 root = _mm512_mul_ps(second, _mm512_rsqrt14_ps(_mm512_max_ps(second, tiny)));
    __m512 divisor = _mm512_fmadd_ps(root, correction, epsilon), inverse = _mm512_rcp14_ps(divisor);
    inverse = _mm512_mul_ps(inverse, _mm512_fnmadd_ps(divisor, inverse, two));
    __m512 move = _mm512_mul_ps(rate, _mm512_mul_ps(first, inverse)), value = LoadValues<Type::kBf16>(p, i, lanes);
    value = torch ? _mm512_fmsub_ps(value, decay, move) : _mm512_mul_ps(_mm512_sub_ps(value, move), decay);
    __m512i random = MixLanes(counter);
    counter = _mm512_add_epi32(counter, _mm512_set1_epi32(16));
    StoreRandomly(p + i, lanes, value, _mm512_and_si512(random, _mm512_set1_epi32(0xffff)));
    StoreNearest(m + i, lanes, first);
    StoreRandomly(v + i, lanes, second, _mm512_srli_epi32(random, 16));
  }
}

}  // namespace lft
#endif
