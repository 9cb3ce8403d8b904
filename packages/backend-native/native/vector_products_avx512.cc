#include "vector_products_avx512.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "avx512.h"
#include "memory.h"

#define LFT_UNITS __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")))

namespace lft {
namespace {

using Format = FrozenMatrix::Format;

// Values of a step; rows of x are filled up with zeros to whole steps.
constexpr int64_t kStep = 64;
// Columns whose sums of int16 times int8 surely fit 32 bits.
constexpr int64_t kFits = 8192;

template <int kCount>
LFT_UNITS void Bf16Rows(const UnitRows& x, const uint16_t* w, int64_t columns, int64_t rows, float* out, int64_t stride) {
  auto* left = static_cast<const uint16_t*>(x.data);
  for (int64_t r = 0; r < rows; r++, w += columns) {
    __m512 sum[kCount][2];
    for (int m = 0; m < kCount; m++) sum[m][0] = sum[m][1] = _mm512_setzero_ps();
    int64_t k = 0;
    for (; k + kStep <= columns; k += kStep) {
      __m512i first = _mm512_loadu_si512(w + k), second = _mm512_loadu_si512(w + k + 32);
#pragma GCC unroll 4
      for (int m = 0; m < kCount; m++) {
        sum[m][0] = MultiplyAdd<Type::kBf16>(sum[m][0], _mm512_loadu_si512(left + m * x.stride + k), first);
        sum[m][1] = MultiplyAdd<Type::kBf16>(sum[m][1], _mm512_loadu_si512(left + m * x.stride + k + 32), second);
      }
    }
    for (; k < columns; k += 32) {
      __m512i rest = LoadWords<Type::kBf16>(w, k, columns - k);
      for (int m = 0; m < kCount; m++) sum[m][0] = MultiplyAdd<Type::kBf16>(sum[m][0], _mm512_loadu_si512(left + m * x.stride + k), rest);
    }
    for (int m = 0; m < kCount; m++) out[m * stride + r] = _mm512_reduce_add_ps(_mm512_add_ps(sum[m][0], sum[m][1]));
  }
}

// x = scale·(2¹⁵·high + low): two rows of int16.
template <int kCount>
LFT_UNITS void Int8Rows(const UnitRows& x, const int8_t* w, const float* scales, int64_t columns, int64_t rows, float* out, int64_t stride) {
  auto* left = static_cast<const int16_t*>(x.data);
  for (int64_t r = 0; r < rows; r++, w += columns) {
    __m512 all[kCount];
    for (int m = 0; m < kCount; m++) all[m] = _mm512_setzero_ps();
    for (int64_t begin = 0; begin < columns; begin += kFits) {
      int64_t end = std::min(begin + kFits, columns);
      __m512i high[kCount][2], low[kCount][2];
      for (int m = 0; m < kCount; m++) high[m][0] = high[m][1] = low[m][0] = low[m][1] = _mm512_setzero_si512();
      auto add = [&](__m512i codes, int half, int64_t k) __attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline)) {
#pragma GCC unroll 4
        for (int m = 0; m < kCount; m++) {
          const int16_t* row = left + 2 * m * x.stride + k;
          high[m][half] = _mm512_dpwssd_epi32(high[m][half], _mm512_loadu_si512(row), codes);
          low[m][half] = _mm512_dpwssd_epi32(low[m][half], _mm512_loadu_si512(row + x.stride), codes);
        }
      };
      int64_t k = begin;
      for (; k + kStep <= end; k += kStep) {
        add(_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + k))), 0, k);
        add(_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + k + 32))), 1, k + 32);
      }
      for (; k < end; k += 32) {
        __mmask32 rest = end - k >= 32 ? ~__mmask32{0} : (__mmask32{1} << (end - k)) - 1;
        add(_mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(rest, w + k)), 0, k);
      }
      for (int m = 0; m < kCount; m++) {
        __m512 upper = _mm512_cvtepi32_ps(_mm512_add_epi32(high[m][0], high[m][1]));
        __m512 lower = _mm512_cvtepi32_ps(_mm512_add_epi32(low[m][0], low[m][1]));
        all[m] = _mm512_add_ps(all[m], _mm512_fmadd_ps(upper, _mm512_set1_ps(32768.0f), lower));
      }
    }
    for (int m = 0; m < kCount; m++) out[m * stride + r] = _mm512_reduce_add_ps(all[m]) * x.scales[m] * scales[r];
  }
}

// The levels in bf16, as in a matrix that is unpacked; twice, since the permutation looks at five bits.
struct Levels {
  alignas(64) uint16_t values[32];
  Levels() {
    for (int i = 0; i < 32; i++) values[i] = RoundToBf16(kNf4Levels[i % 16]);
  }
};
const Levels kLevels;

// A block's bytes hold its even values in their upper halves, its odd ones in the lower.
template <int kCount>
LFT_UNITS void Nf4Rows(const UnitRows& x, const uint8_t* codes, const float* scales, int64_t columns, int64_t rows, float* out, int64_t stride) {
  auto* left = static_cast<const uint16_t*>(x.data);
  const __m512i levels = _mm512_load_si512(kLevels.values);
  for (int64_t r = 0; r < rows; r++) {
    __m512 sum[kCount];
    for (int m = 0; m < kCount; m++) sum[m] = _mm512_setzero_ps();
    for (int64_t k = 0; k < columns; k += kNf4Block, codes += kNf4Block / 2, scales++) {
      __m512i odd = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes))), even = _mm512_srli_epi16(odd, 4);
      __m512i even_levels = _mm512_permutexvar_epi16(even, levels), odd_levels = _mm512_permutexvar_epi16(odd, levels);
      __m512 scale = _mm512_set1_ps(*scales);
#pragma GCC unroll 4
      for (int m = 0; m < kCount; m++) {
        const uint16_t* row = left + m * x.stride + k;
        __m512 dot = MultiplyAdd<Type::kBf16>(_mm512_setzero_ps(), _mm512_loadu_si512(row), even_levels);
        dot = MultiplyAdd<Type::kBf16>(dot, _mm512_loadu_si512(row + 32), odd_levels);
        sum[m] = _mm512_fmadd_ps(dot, scale, sum[m]);
      }
    }
    for (int m = 0; m < kCount; m++) out[m * stride + r] = _mm512_reduce_add_ps(sum[m]);
  }
}

// The largest that 2¹⁵·high + low may be, for high to fit 16 bits.
constexpr float kLargest = 32767.0f * 32768.0f;

// A row of x [columns] as 2¹⁵·high + low, each [stride]; gives the scale, not a number where a value is not finite.
LFT_UNITS float Split(const float* x, int64_t columns, int16_t* high, int64_t stride) {
  __m512 largest = _mm512_setzero_ps();
  bool finite = true;
  for (int64_t k = 0; k < columns; k += 16) {
    __m512 size = _mm512_abs_ps(_mm512_maskz_loadu_ps(FirstLanes(columns - k), x + k));
    finite &= _mm512_cmp_ps_mask(size, _mm512_set1_ps(std::numeric_limits<float>::max()), _CMP_LE_OQ) == 0xffff;
    largest = _mm512_max_ps(largest, size);
  }
  // Values so small that their factor is none of f32 are of no account.
  float factor = finite ? std::min(kLargest / _mm512_reduce_max_ps(largest), 0x1p100f) : 0;
  for (int64_t k = 0; k < stride; k += 16) {
    __m512 values = _mm512_maskz_loadu_ps(finite ? FirstLanes(columns - k) : 0, x + k);
    __m512i whole = _mm512_cvttps_epi32(_mm512_mul_ps(values, _mm512_set1_ps(factor)));
    __m512i upper = _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(1 << 14)), 15);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + k), _mm512_cvtepi32_epi16(upper));
    __m512i lower = _mm512_sub_epi32(whole, _mm512_slli_epi32(upper, 15));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + stride + k), _mm512_cvtepi32_epi16(lower));
  }
  return finite ? 1 / factor : std::numeric_limits<float>::quiet_NaN();
}

// Of each block of a row, which is whole blocks, the even values and then the odd ones.
LFT_UNITS void PartBlocks(const uint16_t* x, int64_t columns, uint16_t* out) {
  alignas(64) uint16_t even[32];
  for (int i = 0; i < 32; i++) even[i] = static_cast<uint16_t>(2 * i);
  __m512i evens = _mm512_load_si512(even), odds = _mm512_add_epi16(evens, _mm512_set1_epi16(1));
  for (int64_t k = 0; k < columns; k += kNf4Block) {
    __m512i first = _mm512_loadu_si512(x + k), second = _mm512_loadu_si512(x + k + 32);
    _mm512_storeu_si512(out + k, _mm512_permutex2var_epi16(first, evens, second));
    _mm512_storeu_si512(out + k + 32, _mm512_permutex2var_epi16(first, odds, second));
  }
}

}  // namespace

bool HasUnitProducts(Format format, Type x) {
  static const bool has = HasVectors() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  return has && (format == Format::kInt8 || (x == Type::kBf16 && format != Format::kF32));
}

UnitRows ArrangeForUnits(Format format, const Values& x, int64_t count, int64_t columns) {
  int64_t stride = (columns + kStep - 1) / kStep * kStep;
  auto* out = static_cast<uint16_t*>(Scratch(0, count * 2 * stride * sizeof(uint16_t) + columns * sizeof(float)));
  UnitRows result{out, stride, {}};
  auto* wide = reinterpret_cast<float*>(out + count * 2 * stride);
  auto* rows = static_cast<const uint16_t*>(x.data);
  for (int64_t m = 0; m < count; m++) {
    uint16_t* to = out + m * stride;
    if (format == Format::kInt8) {
      result.scales[m] = Split(Read(x, m * columns, columns, wide), columns, reinterpret_cast<int16_t*>(out) + 2 * m * stride, stride);
    } else if (format == Format::kNf4) {
      PartBlocks(rows + m * columns, columns, to);
    } else {
      std::memcpy(to, rows + m * columns, columns * sizeof(uint16_t));
      std::fill(to + columns, to + stride, 0);
    }
  }
  return result;
}

template <int kCount>
static void Run(const UnitRows& x, const FrozenMatrix& w, int64_t begin, int64_t rows, float* out, int64_t stride) {
  int64_t first = begin * w.columns;
  if (w.format == Format::kBf16) Bf16Rows<kCount>(x, static_cast<const uint16_t*>(w.data) + first, w.columns, rows, out, stride);
  else if (w.format == Format::kInt8) Int8Rows<kCount>(x, static_cast<const int8_t*>(w.data) + first, w.scales + begin, w.columns, rows, out, stride);
  else Nf4Rows<kCount>(x, static_cast<const uint8_t*>(w.data) + first / 2, w.scales + first / kNf4Block, w.columns, rows, out, stride);
}

void UnitProducts(const UnitRows& x, int64_t count, const FrozenMatrix& w, int64_t begin, int64_t rows, float* out, int64_t stride) {
  using Rows = void (*)(const UnitRows&, const FrozenMatrix&, int64_t, int64_t, float*, int64_t);
  static constexpr Rows kernels[kFewRows] = {Run<1>, Run<2>, Run<3>, Run<4>};
  kernels[count - 1](x, w, begin, rows, out, stride);
}

}  // namespace lft

#else

namespace lft {

bool HasUnitProducts(FrozenMatrix::Format, Type) { return false; }
UnitRows ArrangeForUnits(FrozenMatrix::Format, const Values&, int64_t, int64_t) { return {}; }
void UnitProducts(const UnitRows&, int64_t, const FrozenMatrix&, int64_t, int64_t, float*, int64_t) {}

}  // namespace lft
#endif
