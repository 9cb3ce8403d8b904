#pragma once
#include <cstdint>

namespace lft {

// What a step's numbers come to, the same for every value.
struct AdamWFactors {
  float b1, b2, decay, rate, root_correction, epsilon;
};

// 32 bits that look random, of a counter: Murmur3's mixer. The lower half rounds a parameter, the upper half its second moment.
inline uint32_t Mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

bool HasBf16AdamW();
// A step on values in bf16 in one pass, on AVX-512. Its root and quotient are good to 2^-14 and 2^-27, far below the rounding of the result.
void AdamWBf16(uint16_t* p, uint16_t* m, uint16_t* v, const float* g, int64_t count, uint32_t key, const AdamWFactors& factors, bool torch);

}  // namespace lft
