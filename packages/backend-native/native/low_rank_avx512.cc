#if defined(__x86_64__)
#include <algorithm>
#include <cstring>

#include "avx512.h"
#include "low_rank_kernels.h"
#include "tile_kernels_avx512.h"

namespace lft {
namespace {

template <int kCount, bool kHalves>
LFT_AVX512 void NarrowRows(const uint16_t* x, int64_t width, const Word* panel, float* sums, int64_t stride) {
  constexpr int64_t kValues = kHalves ? 4 : 2;
  __m512 sum[kCount];
  for (int r = 0; r < kCount; r++) sum[r] = _mm512_setzero_ps();
  for (int64_t k = 0; k < width; k += kValues, panel += kPanel) {
    __m512i right = _mm512_loadu_si512(panel);
#pragma GCC unroll 8
    for (int r = 0; r < kCount; r++) {
      __m512i left;
      if constexpr (kHalves) {
        int64_t words;
        std::memcpy(&words, x + r * width + k, 8);
        left = _mm512_set1_epi64(words);
      } else {
        int32_t word;
        std::memcpy(&word, x + r * width + k, 4);
        left = _mm512_set1_epi32(word);
      }
      sum[r] = MultiplyAdd<Type::kBf16>(sum[r], left, right);
    }
  }
  for (int r = 0; r < kCount; r++) {
    if constexpr (kHalves) {
      __m512i whole = _mm512_castps_si512(_mm512_add_ps(sum[r], _mm512_movehdup_ps(sum[r])));
      sum[r] = _mm512_castsi512_ps(_mm512_zextsi256_si512(_mm512_cvtepi64_epi32(whole)));
    }
    _mm512_storeu_ps(sums + r * stride, sum[r]);
  }
}

template <bool kHalves>
void Narrow(const uint16_t* x, int64_t rows, int64_t width, const Word* panel, float* sums, int64_t stride) {
  constexpr decltype(&NarrowRows<1, kHalves>) kByRows[kRows] = {
      NarrowRows<1, kHalves>, NarrowRows<2, kHalves>, NarrowRows<3, kHalves>, NarrowRows<4, kHalves>,
      NarrowRows<5, kHalves>, NarrowRows<6, kHalves>, NarrowRows<7, kHalves>, NarrowRows<8, kHalves>};
  for (int64_t r = 0; r < rows; r += kRows) kByRows[std::min(kRows, rows - r) - 1](x + r * width, width, panel, sums + r * stride, stride);
}

template <int kCount>
LFT_AVX512 void WideRows(const Word* low, int64_t stride, const Word* panels, int64_t pairs, uint16_t* y, int64_t width, bool add) {
  for (int64_t j = 0; j < width; j += 2 * kPanel, panels += 2 * pairs * kPanel) {
    const __mmask32 mask = width - j >= 32 ? ~0u : (1u << (width - j)) - 1;
    __m512 sum[kCount][2];
#pragma GCC unroll 8
    for (int r = 0; r < kCount; r++) {
      __m512i before = _mm512_maskz_loadu_epi16(add ? mask : 0, y + r * width + j);
      sum[r][0] = WidenedLower(before);
      sum[r][1] = WidenedUpper(before);
    }
    for (int64_t k = 0; k < pairs; k++) {
      __m512i first = _mm512_loadu_si512(panels + k * kPanel), second = _mm512_loadu_si512(panels + (pairs + k) * kPanel);
#pragma GCC unroll 8
      for (int r = 0; r < kCount; r++) {
        __m512i left = _mm512_set1_epi32(static_cast<int>(low[r * stride + k]));
        sum[r][0] = MultiplyAdd<Type::kBf16>(sum[r][0], left, first);
        sum[r][1] = MultiplyAdd<Type::kBf16>(sum[r][1], left, second);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kCount; r++) _mm512_mask_storeu_epi16(y + r * width + j, mask, Rounded(sum[r][0], sum[r][1]));
  }
}

void Wide(const Word* low, int64_t stride, int64_t rows, const Word* panels, int64_t pairs, uint16_t* y, int64_t width, bool add) {
  constexpr decltype(&WideRows<1>) kByRows[kRows] = {WideRows<1>, WideRows<2>, WideRows<3>, WideRows<4>,
                                                     WideRows<5>, WideRows<6>, WideRows<7>, WideRows<8>};
  for (int64_t r = 0; r < rows; r += kRows) {
    kByRows[std::min(kRows, rows - r) - 1](low + r * stride, stride, panels, pairs, y + r * width, width, add);
  }
}

void SumRows(const uint16_t* low, int64_t rank, const uint16_t* x, int64_t rows, int64_t width, float* sums, bool add) {
  int64_t padded = CountPanels(width) * kPanel;
  for (int64_t r = 0; r < rank; r += kRows) {
    auto* p = reinterpret_cast<const Word*>(low + r * kLowRankBlock);
    Avx512TileKernels(Type::kBf16)->mix(p, kLowRankBlock / 2, x, width, sums + r * padded, padded, std::min(kRows, rank - r), rows, width, add);
  }
}

}  // namespace

const LowRankKernels* Avx512LowRankKernels(int64_t rank) {
  static const LowRankKernels halves = {true, Narrow<true>, Wide, SumRows}, whole = {false, Narrow<false>, Wide, SumRows};
  if (Avx512TileKernels(Type::kBf16) == nullptr) return nullptr;
  return rank <= kPanel / 2 ? &halves : &whole;
}

}  // namespace lft
#endif
