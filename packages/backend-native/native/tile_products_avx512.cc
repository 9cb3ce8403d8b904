#if defined(__x86_64__)
#include <algorithm>

#include "avx512.h"
#include "tile_kernels_avx512.h"

namespace lft {
namespace {

template <Type type, int kCount, int kWide>
LFT_AVX512 inline void Block(const Word* a, int64_t a_stride, const Word* b, int64_t panel_stride, float* c, int64_t c_stride, int64_t depth,
                             bool accumulate) {
  __m512 sum[kCount][kWide];
  float* row = c;
#pragma GCC unroll 8
  for (int r = 0; r < kCount; r++, row += c_stride)
#pragma GCC unroll 8
    for (int w = 0; w < kWide; w++) sum[r][w] = accumulate ? _mm512_loadu_ps(row + w * kPanel) : _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; k++) {
    __m512i right[kWide];
#pragma GCC unroll 8
    for (int w = 0; w < kWide; w++) right[w] = _mm512_loadu_si512(b + w * panel_stride + k * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < kCount; r++) {
      __m512i left = _mm512_set1_epi32(static_cast<int>(a[r * a_stride + k]));
#pragma GCC unroll 8
      for (int w = 0; w < kWide; w++) sum[r][w] = MultiplyAdd<type>(sum[r][w], left, right[w]);
    }
  }
  // Or else the addresses of all rows are kept through the loop.
  __asm__("" : "+r"(c));
#pragma GCC unroll 8
  for (int r = 0; r < kCount; r++, c += c_stride)
#pragma GCC unroll 8
    for (int w = 0; w < kWide; w++) _mm512_storeu_ps(c + w * kPanel, sum[r][w]);
}

template <Type type, int kCount>
LFT_AVX512 void RowsProduct(const Word* a, int64_t a_stride, const Word* b, int64_t panel_stride, float* c, int64_t c_stride, int64_t depth,
                            int64_t panels, bool accumulate) {
  int64_t p = 0;
  for (; p + 2 <= panels; p += 2) {
    Block<type, kCount, 2>(a, a_stride, b + p * panel_stride, panel_stride, c + p * kPanel, c_stride, depth, accumulate);
  }
  if (p < panels) Block<type, kCount, 1>(a, a_stride, b + p * panel_stride, panel_stride, c + p * kPanel, c_stride, depth, accumulate);
}

template <Type type>
void Product(const Word* a, int64_t a_stride, const Word* b, int64_t panel_stride, float* c, int64_t c_stride, int64_t rows, int64_t depth,
             int64_t panels, bool accumulate) {
  constexpr decltype(&RowsProduct<type, 1>) kByRows[kRows] = {RowsProduct<type, 1>, RowsProduct<type, 2>, RowsProduct<type, 3>, RowsProduct<type, 4>,
                                                              RowsProduct<type, 5>, RowsProduct<type, 6>, RowsProduct<type, 7>, RowsProduct<type, 8>};
  kByRows[rows - 1](a, a_stride, b, panel_stride, c, c_stride, depth, panels, accumulate);
}

template <Type type>
LFT_AVX512 void Dot(const void* a, int64_t a_stride, const void* b, int64_t b_stride, float* out, int64_t rows, int64_t width) {
  constexpr int64_t kStep = type == Type::kBf16 ? 32 : 16;
  for (int64_t r = 0; r < rows; r += kRows) {
    __m512 sum[kRows];
    int64_t count = std::min(kRows, rows - r);
    for (int64_t i = 0; i < kRows; i++) {
      __m512 own = _mm512_setzero_ps();
      for (int64_t j = 0; i < count && j < width; j += kStep) {
        own = MultiplyAdd<type>(own, LoadWords<type>(a, (r + i) * a_stride + j, width - j), LoadWords<type>(b, (r + i) * b_stride + j, width - j));
      }
      sum[i] = own;
    }
    _mm256_mask_storeu_ps(out + r, static_cast<__mmask8>(FirstLanes(count)), ReduceRows<Sum>(sum));
  }
}

template <Type type, int kCount>
LFT_AVX512 void MixRows(const Word* p, int64_t p_stride, const void* x, int64_t x_stride, float* c, int64_t c_stride, int64_t depth, int64_t width,
                        bool accumulate) {
  for (int64_t j = 0; j < width; j += 2 * kPanel) {
    bool two = j + kPanel < width;
    __m512 sum[kCount][2];
#pragma GCC unroll 8
    for (int r = 0; r < kCount; r++) {
      sum[r][0] = accumulate ? _mm512_loadu_ps(c + r * c_stride + j) : _mm512_setzero_ps();
      sum[r][1] = accumulate && two ? _mm512_loadu_ps(c + r * c_stride + j + kPanel) : _mm512_setzero_ps();
    }
    constexpr int64_t kStep = type == Type::kBf16 ? 2 : 1;
    for (int64_t k = 0; k < depth; k += kStep) {
      __m512i low = LoadWords<type>(x, k * x_stride + j, width - j), high = _mm512_setzero_si512();
      if constexpr (type == Type::kBf16) {
        __m512i first = low, second = high;
        if (k + 1 < depth) second = LoadWords<type>(x, (k + 1) * x_stride + j, width - j);
        low = LowPairs(first, second);
        high = HighPairs(first, second);
      } else if (two) {
        high = LoadWords<type>(x, k * x_stride + j + kPanel, width - j - kPanel);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kCount; r++) {
        __m512i left = _mm512_set1_epi32(static_cast<int>(p[r * p_stride + k / kStep]));
        sum[r][0] = MultiplyAdd<type>(sum[r][0], left, low);
        sum[r][1] = MultiplyAdd<type>(sum[r][1], left, high);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kCount; r++) {
      _mm512_storeu_ps(c + r * c_stride + j, sum[r][0]);
      if (two) _mm512_storeu_ps(c + r * c_stride + j + kPanel, sum[r][1]);
    }
  }
}

template <Type type>
void Mix(const Word* p, int64_t p_stride, const void* x, int64_t x_stride, float* c, int64_t c_stride, int64_t rows, int64_t depth, int64_t width,
         bool accumulate) {
  constexpr decltype(&MixRows<type, 1>) kByRows[kRows] = {MixRows<type, 1>, MixRows<type, 2>, MixRows<type, 3>, MixRows<type, 4>,
                                                          MixRows<type, 5>, MixRows<type, 6>, MixRows<type, 7>, MixRows<type, 8>};
  kByRows[rows - 1](p, p_stride, x, x_stride, c, c_stride, depth, width, accumulate);
}

template <Type type>
void Set(TileKernels& kernels) {
  kernels.product = Product<type>;
  kernels.dot = Dot<type>;
  kernels.mix = Mix<type>;
}

}  // namespace

void SetAvx512Products(TileKernels& kernels) { kernels.type == Type::kBf16 ? Set<Type::kBf16>(kernels) : Set<Type::kF32>(kernels); }

}  // namespace lft
#endif
