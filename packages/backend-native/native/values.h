#pragma once
#include <cstdint>
#include <cstring>

namespace lft {

// bf16 is the upper half of an f32.
enum class Type { kF32, kBf16 };

// Where a tensor's values lie, and as what.
struct Values {
  void* data;
  Type type;
};

inline int64_t BytesOf(Type type) { return type == Type::kF32 ? 4 : 2; }

// To the nearest bf16, ties to even; any NaN becomes the quiet one.
inline uint16_t RoundToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bool nan = (bits & 0x7fffffff) > 0x7f800000;
  return nan ? 0x7fc0 : static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void ToBf16(const float* source, uint16_t* target, int64_t count);
void FromBf16(const uint16_t* source, float* target, int64_t count);

// Kernels compute in f32. They go through bf16 values in parts that stay in the first cache.
constexpr int64_t kPart = 512;

// Values [begin, begin + count) as f32: where they lie, or widened into the buffer.
const float* Read(const Values& x, int64_t begin, int64_t count, float* buffer);

// Where to put the values from `begin` on: in place, or into the buffer, from which Write rounds them.
float* Target(const Values& y, int64_t begin, float* buffer);
void Write(const Values& y, int64_t begin, int64_t count, const float* from);

}  // namespace lft
