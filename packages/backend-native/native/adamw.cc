#include <algorithm>
#include <cmath>
#include <cstring>

#include "adamw.h"
#include "fused.h"
#include "split.h"
#include "vector_math.h"

namespace lft {
namespace {

LFT_DISPATCH void StepRange(float* p, float* m, float* v, const float* g, int64_t count, const AdamWFactors& f, bool torch) {
  float c1 = 1.0f - f.b1, c2 = 1.0f - f.b2;
  if (torch) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
      m[i] = f.b1 * m[i] + c1 * g[i];
      v[i] = f.b2 * v[i] + c2 * g[i] * g[i];
      p[i] = p[i] * f.decay - f.rate * m[i] / (std::sqrt(v[i]) * f.root_correction + f.epsilon);
    }
  } else {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
      m[i] = f.b1 * m[i] + c1 * g[i];
      v[i] = f.b2 * v[i] + c2 * g[i] * g[i];
      p[i] = (p[i] - f.rate * m[i] / (std::sqrt(v[i]) + f.epsilon)) * f.decay;
    }
  }
}

// Rounds to one of the two bf16 next to a value, with the probability of its nearness: the expected value is the value. Infinities and the
// hardware's NaN stay what they are.
LFT_DISPATCH void RoundStochastically(const float* from, uint16_t* to, int64_t count, uint32_t key, int shift) {
  auto* bits = reinterpret_cast<const uint32_t*>(from);
#pragma omp simd
  for (int64_t i = 0; i < count; i++) {
    to[i] = static_cast<uint16_t>((bits[i] + (Mix(key + static_cast<uint32_t>(i)) >> shift & 0xffffu)) >> 16);
  }
}

void WriteRounded(const Values& y, int64_t begin, int64_t count, const float* from, uint32_t key, int shift) {
  if (y.type == Type::kBf16) RoundStochastically(from, static_cast<uint16_t*>(y.data) + begin, count, key + static_cast<uint32_t>(begin), shift);
}

// A part's values to be changed: where they lie, or widened in the buffer.
float* Changed(const Values& x, int64_t begin, int64_t count, float* buffer) { return const_cast<float*>(Read(x, begin, count, buffer)); }

}  // namespace

void AdamWStep(const Values& p, const Values& m, const Values& v, const float* g, int64_t count, int64_t step, double learning_rate,
               double weight_decay, uint32_t seed, const AdamW& hyper) {
  double c1 = 1 - std::pow(hyper.beta1, step), c2 = 1 - std::pow(hyper.beta2, step);
  AdamWFactors factors{static_cast<float>(hyper.beta1),
                  static_cast<float>(hyper.beta2),
                  static_cast<float>(1 - learning_rate * weight_decay),
                  static_cast<float>(hyper.torch ? learning_rate / c1 : learning_rate * std::sqrt(c2) / c1),
                  static_cast<float>(1 / std::sqrt(c2)),
                  hyper.epsilon};
  uint32_t key = Mix(seed);
#if defined(__x86_64__)
  if (p.type == Type::kBf16 && m.type == Type::kBf16 && v.type == Type::kBf16 && HasBf16AdamW()) {
    return Split(count, 4, [&](int64_t begin, int64_t end) {
      auto at = [begin](const Values& x) { return static_cast<uint16_t*>(x.data) + begin; };
      AdamWBf16(at(p), at(m), at(v), g + begin, end - begin, key + static_cast<uint32_t>(begin), factors, hyper.torch);
    });
  }
#endif
  SplitInParts(count, 4, [&](int64_t begin, int64_t n) {
    alignas(64) float own[3][kPart + 32];
    float *pp = Changed(p, begin, n, own[0]), *mm = Changed(m, begin, n, own[1]), *vv = Changed(v, begin, n, own[2]);
    StepRange(pp, mm, vv, g + begin, n, factors, hyper.torch);
    // Each step changes the first moment by a tenth, which is far above its last bit; the second by a thousandth, which would be lost.
    Write(m, begin, n, mm);
    WriteRounded(p, begin, n, pp, key, 0);
    WriteRounded(v, begin, n, vv, key, 16);
  });
}

}  // namespace lft
