#include "bf16_units.h"

#include "amx.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#endif

namespace lft {

#if defined(__x86_64__)
namespace {

#define LFT_BF16 __attribute__((target("avx512f,avx512bf16")))

// Enough sums at a time that none waits for another.
constexpr int kSums = 16;

struct DotProduct {
  LFT_BF16 static inline void AddTo(__m512& sum, __m512i x) {
    sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh&>(x), reinterpret_cast<__m512bh&>(x));
  }
};
struct MultiplyAdd {
  LFT_BF16 static inline void AddTo(__m512& sum, __m512i x) { sum = _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(x), sum); }
};

// Seconds of `count` times kSums instructions.
template <typename Instruction>
LFT_BF16 double Time(int count) {
  auto begin = std::chrono::steady_clock::now();
  __m512 sums[kSums];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  __m512i x = _mm512_setzero_si512();
  for (int i = 0; i < count; i++) {
    asm volatile("" : "+v"(x));
#pragma GCC unroll 16
    for (__m512& sum : sums) Instruction::AddTo(sum, x);
  }
  for (__m512& sum : sums) asm volatile("" : "+v"(sum));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// A dot product does the work of two multiplications. Units come at half, once or twice the rate of f32, so that the shortest of a few times,
// microseconds each, leaves no doubt.
bool DotProductsAreFast() {
  constexpr int kTries = 8, kCount = 500;
  double dot = 1, f32 = 1;
  for (int i = 0; i < kTries; i++) {
    f32 = std::min(f32, Time<MultiplyAdd>(2 * kCount));
    dot = std::min(dot, Time<DotProduct>(kCount));
  }
  return dot < 1.4 * f32;
}

}  // namespace

bool HasFastBf16Units() {
  static const bool has = HasAmx() || (__builtin_cpu_supports("avx512bf16") && DotProductsAreFast());
  return has;
}

#else

// oneDNN has fast products of bf16 on arm64 for layouts of its own alone.
bool HasFastBf16Units() { return false; }

#endif

}  // namespace lft
