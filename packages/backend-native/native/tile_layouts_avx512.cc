#if defined(__x86_64__)
#include "avx512.h"
#include "tile_kernels_avx512.h"

namespace lft {
namespace {

// 16 × 16 words; kWhole: all rows and columns are there, else as many as are given.
template <bool kWhole>
LFT_AVX512 inline void TransposeBlock(const Word* x, int64_t x_stride, Word* out, int64_t out_stride, int64_t rows, int64_t columns) {
  __m512i r[16], s[16];
#pragma GCC unroll 16
  for (int k = 0; k < 16; k++, x += x_stride) {
    if constexpr (kWhole) r[k] = _mm512_loadu_si512(x);
    else r[k] = _mm512_maskz_loadu_epi32(k < rows ? FirstLanes(columns) : 0, x);
  }
#pragma GCC unroll 16
  for (int k = 0; k < 16; k += 2) {
    s[k] = _mm512_unpacklo_epi32(r[k], r[k + 1]);
    s[k + 1] = _mm512_unpackhi_epi32(r[k], r[k + 1]);
  }
#pragma GCC unroll 16
  for (int k = 0; k < 16; k += 4) {
    r[k] = _mm512_unpacklo_epi64(s[k], s[k + 2]);
    r[k + 1] = _mm512_unpackhi_epi64(s[k], s[k + 2]);
    r[k + 2] = _mm512_unpacklo_epi64(s[k + 1], s[k + 3]);
    r[k + 3] = _mm512_unpackhi_epi64(s[k + 1], s[k + 3]);
  }
  // Lane l of r[4g + k] is column 4l + k of rows 4g to 4g + 3.
#pragma GCC unroll 16
  for (int k = 0; k < 4; k++) {
    __m512i even = _mm512_shuffle_i32x4(r[k], r[4 + k], 0x88), odd = _mm512_shuffle_i32x4(r[k], r[4 + k], 0xdd);
    __m512i even2 = _mm512_shuffle_i32x4(r[8 + k], r[12 + k], 0x88), odd2 = _mm512_shuffle_i32x4(r[8 + k], r[12 + k], 0xdd);
    s[k] = _mm512_shuffle_i32x4(even, even2, 0x88);
    s[k + 4] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
    s[k + 8] = _mm512_shuffle_i32x4(even, even2, 0xdd);
    s[k + 12] = _mm512_shuffle_i32x4(odd, odd2, 0xdd);
  }
#pragma GCC unroll 16
  for (int k = 0; k < 16; k++, out += out_stride)
    if (kWhole || k < columns) _mm512_storeu_si512(out, s[k]);
}

LFT_AVX512 void Transpose(const Word* x, int64_t x_stride, Word* out, int64_t out_stride, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i += 16) {
    for (int64_t j = 0; j < columns; j += 16) {
      const Word* from = x + i * x_stride + j;
      Word* to = out + j * out_stride + i;
      if (rows - i >= 16 && columns - j >= 16) TransposeBlock<true>(from, x_stride, to, out_stride, 16, 16);
      else TransposeBlock<false>(from, x_stride, to, out_stride, rows - i, columns - j);
    }
  }
}

template <Type type>
LFT_AVX512 void PackRows(const void* x, int64_t x_stride, Word* panels, int64_t panel_stride, int64_t rows, int64_t width) {
  if constexpr (type == Type::kBf16) {
    for (int64_t j = 0; j < width; j += 2 * kPanel) {
      auto* in = static_cast<const uint16_t*>(x) + j;
      Word* out = panels + j / kPanel * panel_stride;
      __mmask32 mask = width - j >= 32 ? ~0u : (1u << (width - j)) - 1;
      for (int64_t i = 0; i < rows; i += 2) {
        __m512i first = _mm512_maskz_loadu_epi16(mask, in + i * x_stride);
        __m512i second = _mm512_maskz_loadu_epi16(i + 1 < rows ? mask : 0, in + (i + 1) * x_stride);
        _mm512_storeu_si512(out + i / 2 * kPanel, LowPairs(first, second));
        if (j + kPanel < width) _mm512_storeu_si512(out + panel_stride + i / 2 * kPanel, HighPairs(first, second));
      }
    }
  } else {
    for (int64_t j = 0; j < width; j += kPanel) {
      __mmask16 mask = FirstLanes(width - j);
      auto* in = static_cast<const float*>(x) + j;
      Word* out = panels + j / kPanel * panel_stride;
      for (int64_t i = 0; i < rows; i++) _mm512_storeu_ps(out + i * kPanel, _mm512_maskz_loadu_ps(mask, in + i * x_stride));
    }
  }
}

LFT_AVX512 inline __m512 SumOf(const float* x, int64_t parts, int64_t part_stride, __m512 factor) {
  __m512 sum = _mm512_loadu_ps(x);
  for (int64_t part = 1; part < parts; part++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + part * part_stride));
  return _mm512_mul_ps(sum, factor);
}

template <Type type>
LFT_AVX512 void Finish(const float* x, int64_t x_stride, int64_t parts, int64_t part_stride, const float* factor, void* out, int64_t out_stride,
                       int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++) {
    const float* row = x + r * x_stride;
    const __m512 scale = _mm512_set1_ps(factor[r]);
    int64_t j = 0;
    if constexpr (type == Type::kBf16) {
      auto* to = static_cast<uint16_t*>(out) + r * out_stride;
      for (; j + 32 <= width; j += 32) {
        _mm512_storeu_si512(to + j, Rounded(SumOf(row + j, parts, part_stride, scale), SumOf(row + j + 16, parts, part_stride, scale)));
      }
      for (; j < width; j += 16) {
        __m256bh rounded = _mm512_cvtneps_pbh(SumOf(row + j, parts, part_stride, scale));
        _mm256_mask_storeu_epi16(to + j, FirstLanes(width - j), reinterpret_cast<__m256i&>(rounded));
      }
    } else {
      auto* to = static_cast<float*>(out) + r * out_stride;
      for (; j + 16 <= width; j += 16) _mm512_storeu_ps(to + j, SumOf(row + j, parts, part_stride, scale));
      if (j < width) _mm512_mask_storeu_ps(to + j, FirstLanes(width - j), SumOf(row + j, parts, part_stride, scale));
    }
  }
}

template <Type type>
void Set(TileKernels& kernels) {
  kernels.transpose = Transpose;
  kernels.pack_rows = PackRows<type>;
  kernels.finish = Finish<type>;
}

}  // namespace

void SetAvx512Layouts(TileKernels& kernels) { kernels.type == Type::kBf16 ? Set<Type::kBf16>(kernels) : Set<Type::kF32>(kernels); }

}  // namespace lft
#endif
