#include "values.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "vector_math.h"

namespace lft {
namespace {

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bf16,avx512vl"))) void RoundByUnit(const float* source, uint16_t* target, int64_t count) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256bh packed = _mm512_cvtneps_pbh(_mm512_loadu_ps(source + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + i), reinterpret_cast<__m256i&>(packed));
  }
  if (i < count) {
    __mmask16 mask = static_cast<__mmask16>((1u << (count - i)) - 1);
    __m256bh packed = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, source + i));
    _mm256_mask_storeu_epi16(target + i, mask, reinterpret_cast<__m256i&>(packed));
  }
}
#endif

LFT_DISPATCH void RoundByHand(const float* source, uint16_t* target, int64_t count) {
  for (int64_t i = 0; i < count; i++) target[i] = RoundToBf16(source[i]);
}

void Round(const float* source, uint16_t* target, int64_t count) {
#if defined(__x86_64__)
  static const bool unit = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl");
  if (unit) return RoundByUnit(source, target, count);
#endif
  RoundByHand(source, target, count);
}

LFT_DISPATCH void Widen(const uint16_t* source, float* target, int64_t count) {
  auto* bits = reinterpret_cast<uint32_t*>(target);
  for (int64_t i = 0; i < count; i++) bits[i] = static_cast<uint32_t>(source[i]) << 16;
}

constexpr int64_t kParallelPart = 4096;

}  // namespace

void ToBf16(const float* source, uint16_t* target, int64_t count) {
#pragma omp parallel for schedule(static) if (count > 4 * kParallelPart)
  for (int64_t begin = 0; begin < count; begin += kParallelPart) {
    Round(source + begin, target + begin, count - begin < kParallelPart ? count - begin : kParallelPart);
  }
}

void FromBf16(const uint16_t* source, float* target, int64_t count) {
#pragma omp parallel for schedule(static) if (count > 4 * kParallelPart)
  for (int64_t begin = 0; begin < count; begin += kParallelPart) {
    Widen(source + begin, target + begin, count - begin < kParallelPart ? count - begin : kParallelPart);
  }
}

const float* Read(const Values& x, int64_t begin, int64_t count, float* buffer) {
  if (x.type == Type::kF32) return static_cast<const float*>(x.data) + begin;
  Widen(static_cast<const uint16_t*>(x.data) + begin, buffer, count);
  return buffer;
}

float* Target(const Values& y, int64_t begin, float* buffer) {
  return y.type == Type::kF32 ? static_cast<float*>(y.data) + begin : buffer;
}

void Write(const Values& y, int64_t begin, int64_t count, const float* from) {
  if (y.type == Type::kBf16) Round(from, static_cast<uint16_t*>(y.data) + begin, count);
}

}  // namespace lft
