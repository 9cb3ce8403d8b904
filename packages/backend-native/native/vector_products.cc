#include "vector_products.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "memory.h"
#include "share_out.h"
#include "vector_math.h"
#include "vector_products_avx512.h"

// The work is to read the weight, once and from front to back: several rows of it side by side keep the processor from reading ahead, and
// halve the speed. Vectors are of 64 bytes on every processor; the compiler makes of each as many registers as it takes. A vector of packed
// values becomes floats in parts, each of which takes one value from every word; x is put in the same order beforehand.

// No vector is passed to a function that is not inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace lft {
namespace {

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
using Integers = int32_t __attribute__((vector_size(64)));

// Rows of W whose results are written at a time.
constexpr int64_t kRows = 16;
// Values of W that a thread takes at a time, about.
constexpr int64_t kItem = int64_t{1} << 17;

#define LFT_INLINE inline __attribute__((always_inline))

template <typename V>
LFT_INLINE V Load(const void* from) {
  V value;
  std::memcpy(&value, from, sizeof(V));
  return value;
}

LFT_INLINE float Sum(const Floats& x) {
  auto half = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  auto quarter = __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
  return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

// The formats: values in a word, and those at place p of each word.
struct F32 {
  using Value = float;
  static constexpr int kParts = 1;
  static LFT_INLINE Floats Part(const Words& words, int) { return reinterpret_cast<Floats>(words); }
};
struct Bf16 {
  using Value = uint16_t;
  static constexpr int kParts = 2;
  static LFT_INLINE Floats Part(const Words& words, int p) {
    return reinterpret_cast<Floats>(p == 0 ? words << 16 : words & 0xffff0000u);
  }
};
struct Int8 {
  using Value = int8_t;
  static constexpr int kParts = 4;
  static LFT_INLINE Floats Part(const Words& words, int p) {
    return __builtin_convertvector(reinterpret_cast<Integers>(words << (24 - 8 * p)) >> 24, Floats);
  }
};

// x [count, columns] in f32, in the order of the parts, filled up with zeros to whole vectors: kParts·16 values each.
struct Arranged {
  const float* data;
  int64_t stride;
};

template <int kParts>
Arranged Arrange(const Values& x, int64_t count, int64_t columns) {
  constexpr int64_t kStep = kParts * kLanes;
  int64_t stride = (columns + kStep - 1) / kStep * kStep;
  auto* out = static_cast<float*>(Scratch(0, (count * stride + count * columns + kStep) * sizeof(float)));
  float* plain = out + count * stride;
  for (int64_t m = 0; m < count; m++) {
    const float* from = Read(x, m * columns, columns, plain + m * columns);
    float* to = out + m * stride;
    for (int64_t k = 0; k < stride; k += kStep) {
      float rest[kStep] = {};
      const float* part = from + k;
      if (columns - k < kStep) part = static_cast<float*>(std::memcpy(rest, part, (columns - k) * sizeof(float)));
      for (int64_t p = 0; p < kParts; p++)
        for (int64_t lane = 0; lane < kLanes; lane++) to[k + p * kLanes + lane] = part[lane * kParts + p];
    }
  }
  return {out, stride};
}

// out[m * kRows] = x[m]·w for a row w.
template <typename Format, int kCount>
LFT_INLINE void Dots(const Arranged& x, const typename Format::Value* w, int64_t columns, float* out) {
  constexpr int kParts = Format::kParts;
  constexpr int64_t kStep = kParts * kLanes;
  // A sum for each part, and for a single row of x four at least, so that one need not wait for another.
  constexpr int kDeep = kCount == 1 && kParts < 4 ? 4 / kParts : 1;
  Floats sum[kDeep][kParts][kCount] = {};
  auto add = [&](const Words& words, int64_t k, int d) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int p = 0; p < kParts; p++) {
      Floats right = Format::Part(words, p);
#pragma GCC unroll 4
      for (int m = 0; m < kCount; m++) sum[d][p][m] += Load<Floats>(x.data + m * x.stride + k + p * kLanes) * right;
    }
  };
  int64_t k = 0;
  for (; k + kDeep * kStep <= columns; k += kDeep * kStep) {
#pragma GCC unroll 4
    for (int d = 0; d < kDeep; d++) add(Load<Words>(w + k + d * kStep), k + d * kStep, d);
  }
  for (; k + kStep <= columns; k += kStep) add(Load<Words>(w + k), k, 0);
  if (k < columns) {
    Words rest = {};
    std::memcpy(&rest, w + k, (columns - k) * sizeof(*w));
    add(rest, k, 0);
  }
#pragma GCC unroll 4
  for (int m = 0; m < kCount; m++) {
    Floats all = {};
#pragma GCC unroll 4
    for (int d = 0; d < kDeep; d++)
#pragma GCC unroll 4
      for (int p = 0; p < kParts; p++) all += sum[d][p][m];
    out[m * kRows] = Sum(all);
  }
}

template <typename Format>
LFT_INLINE void RowsOf(const Arranged& x, int64_t count, const typename Format::Value* w, int64_t rows, int64_t columns, float* out) {
  for (int64_t r = 0; r < rows; r++, w += columns, out++) {
    if (count == 1) Dots<Format, 1>(x, w, columns, out);
    else if (count == 2) Dots<Format, 2>(x, w, columns, out);
    else if (count == 3) Dots<Format, 3>(x, w, columns, out);
    else Dots<Format, 4>(x, w, columns, out);
  }
}

LFT_DISPATCH void RowsF32(const Arranged& x, int64_t count, const float* w, int64_t rows, int64_t columns, float* out) {
  RowsOf<F32>(x, count, w, rows, columns, out);
}
LFT_DISPATCH void RowsBf16(const Arranged& x, int64_t count, const uint16_t* w, int64_t rows, int64_t columns, float* out) {
  RowsOf<Bf16>(x, count, w, rows, columns, out);
}
LFT_DISPATCH void RowsInt8(const Arranged& x, int64_t count, const int8_t* w, int64_t rows, int64_t columns, float* out) {
  RowsOf<Int8>(x, count, w, rows, columns, out);
}

#if defined(__x86_64__)
// Rows of whole blocks. A block's codes are 16 times two bytes, with values 1, 0, 3, 2 from the lowest bits on, and x has parts of four.
template <int kCount>
__attribute__((target("avx512f,avx512bw"))) void RowsNf4(const Arranged& x, const uint8_t* codes, const float* scales, int64_t rows, int64_t columns,
                                                        float* out) {
  const __m512 levels = _mm512_loadu_ps(kNf4Levels);
  int64_t blocks = columns / kNf4Block;
  for (int64_t r = 0; r < rows; r++) {
    __m512 sum[kCount];
    for (int m = 0; m < kCount; m++) sum[m] = _mm512_setzero_ps();
    for (int64_t b = 0; b < blocks; b++, codes += kNf4Block / 2, scales++) {
      __m512i pairs = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
      __m512 scale = _mm512_set1_ps(*scales);
      // The permutation looks at the lowest four bits alone.
      const __m512 right[4] = {_mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 4), levels), _mm512_permutexvar_ps(pairs, levels),
                               _mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 12), levels),
                               _mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 8), levels)};
#pragma GCC unroll 4
      for (int m = 0; m < kCount; m++) {
        const float* left = x.data + m * x.stride + b * kNf4Block;
        __m512 low = _mm512_fmadd_ps(_mm512_loadu_ps(left), right[0], _mm512_mul_ps(_mm512_loadu_ps(left + 16), right[1]));
        __m512 high = _mm512_fmadd_ps(_mm512_loadu_ps(left + 32), right[2], _mm512_mul_ps(_mm512_loadu_ps(left + 48), right[3]));
        sum[m] = _mm512_fmadd_ps(_mm512_add_ps(low, high), scale, sum[m]);
      }
    }
    for (int m = 0; m < kCount; m++) out[m * kRows + r] = _mm512_reduce_add_ps(sum[m]);
  }
}
#endif

// Rows [begin, begin + rows) of W with every row of x.
void RowsOfMatrix(const Arranged& x, int64_t count, const FrozenMatrix& w, int64_t begin, int64_t rows, float* out) {
  int64_t first = begin * w.columns;
  switch (w.format) {
    case FrozenMatrix::Format::kF32: return RowsF32(x, count, static_cast<const float*>(w.data) + first, rows, w.columns, out);
    case FrozenMatrix::Format::kBf16: return RowsBf16(x, count, static_cast<const uint16_t*>(w.data) + first, rows, w.columns, out);
    case FrozenMatrix::Format::kInt8:
      RowsInt8(x, count, static_cast<const int8_t*>(w.data) + first, rows, w.columns, out);
      for (int64_t m = 0; m < count; m++)
        for (int64_t r = 0; r < rows; r++) out[m * kRows + r] *= w.scales[begin + r];
      return;
    case FrozenMatrix::Format::kNf4:
#if defined(__x86_64__)
      using Rows = void (*)(const Arranged&, const uint8_t*, const float*, int64_t, int64_t, float*);
      static constexpr Rows kernels[kFewRows] = {RowsNf4<1>, RowsNf4<2>, RowsNf4<3>, RowsNf4<4>};
      kernels[count - 1](x, static_cast<const uint8_t*>(w.data) + first / 2, w.scales + first / kNf4Block, rows, w.columns, out);
#endif
      return;
  }
}

Arranged ArrangeFor(FrozenMatrix::Format format, const Values& x, int64_t count, int64_t columns) {
  switch (format) {
    case FrozenMatrix::Format::kF32: return Arrange<F32::kParts>(x, count, columns);
    case FrozenMatrix::Format::kBf16: return Arrange<Bf16::kParts>(x, count, columns);
    default: return Arrange<4>(x, count, columns);
  }
}

}  // namespace

bool TakesVectorProduct(const FrozenMatrix& w) {
  if (w.format != FrozenMatrix::Format::kNf4) return true;
#if defined(__x86_64__)
  static const bool unit = __builtin_cpu_supports("avx512bw");
  return unit && w.columns % kNf4Block == 0;
#else
  return false;
#endif
}

void VectorProducts(const Values& x, int64_t count, std::initializer_list<VectorProduct> products) {
  const FrozenMatrix& one = products.begin()->w;
  int64_t columns = one.columns, all = 0;
  for (const VectorProduct& product : products) all += product.w.rows;
  bool units = HasUnitProducts(one.format, x.type);
  UnitRows unit_rows{};
  Arranged arranged{};
  if (units) unit_rows = ArrangeForUnits(one.format, x, count, columns);
  else arranged = ArrangeFor(one.format, x, count, columns);
  auto some = [&](const VectorProduct& product, int64_t first, int64_t end) {
    const auto& [w, y] = product;
    for (int64_t begin = first; begin < end; begin += kRows) {
      float out[kFewRows * kRows];
      int64_t part = std::min(kRows, end - begin);
      if (units) UnitProducts(unit_rows, count, w, begin, part, out, kRows);
      else RowsOfMatrix(arranged, count, w, begin, part, out);
      for (int64_t m = 0; m < count; m++) {
        int64_t at = m * w.rows + begin;
        if (y.type == Type::kF32) std::memcpy(static_cast<float*>(y.data) + at, out + m * kRows, part * sizeof(float));
        else Write(y, at, part, out + m * kRows);
      }
    }
  };
  // The rows of all matrices, one behind the other, in shares of about kItem values.
  int64_t items = std::max<int64_t>(1, all * columns / kItem), share = ((all + items - 1) / items + kRows - 1) / kRows * kRows;
  ShareOut((all + share - 1) / share, [&](int64_t item, int) {
    int64_t before = 0;
    for (const VectorProduct& product : products) {
      some(product, std::max<int64_t>(0, item * share - before), std::min(product.w.rows, (item + 1) * share - before));
      before += product.w.rows;
    }
  });
}

}  // namespace lft
