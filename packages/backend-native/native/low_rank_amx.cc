#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>

#include "amx.h"
#include "avx512.h"
#include "low_rank_kernels.h"

// The matrix units take tiles of 16 rows of 64 bytes: C [rows, 16] f32 += A [rows, words]·B [words, 16]. Whole blocks go there; the rest goes to
// AVX-512.

#define LFT_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace lft {
namespace {

constexpr int64_t kTile = 16, kTileBytes = 64, kStep = 32;
static_assert(kLowRankBlock == 4 * kTile && kLowRankBlock == 2 * kStep);

// Loads of tiles are not known to the compiler as reads of what was written before.
LFT_AMX inline void Written() { __asm__ volatile("" ::: "memory"); }

LFT_AMX void Narrow(const uint16_t* x, int64_t rows, int64_t width, const Word* panel, float* sums, int64_t stride) {
  if (rows < kLowRankBlock || width % kStep != 0) return Avx512LowRankKernels(kPanel)->narrow(x, rows, width, panel, sums, stride);
  TileShapes tiles;
  tiles.Set(0, 7, kTile, kTileBytes);
  Written();
  _tile_loadconfig(&tiles);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const int64_t bytes = width * sizeof(uint16_t);
  for (int64_t k = 0; k < width; k += kStep, x += kStep, panel += kTile * kPanel) {
    _tile_loadd(4, panel, kTileBytes);
    _tile_loadd(5, x, bytes);
    _tile_dpbf16ps(0, 5, 4);
    _tile_loadd(6, x + kTile * width, bytes);
    _tile_dpbf16ps(1, 6, 4);
    _tile_loadd(7, x + 2 * kTile * width, bytes);
    _tile_dpbf16ps(2, 7, 4);
    _tile_loadd(5, x + 3 * kTile * width, bytes);
    _tile_dpbf16ps(3, 5, 4);
  }
  const int64_t sum_bytes = stride * sizeof(float);
  _tile_stored(0, sums, sum_bytes);
  _tile_stored(1, sums + kTile * stride, sum_bytes);
  _tile_stored(2, sums + 2 * kTile * stride, sum_bytes);
  _tile_stored(3, sums + 3 * kTile * stride, sum_bytes);
  _tile_release();
}

// y [16, 32] = sums, or added to it.
LFT_AMX inline void Finish(const float* sums, uint16_t* y, int64_t width, bool add) {
#pragma GCC unroll 4
  for (int64_t r = 0; r < kTile; r++, y += width) {
    __m512 first = _mm512_load_ps(sums + r * kPanel), second = _mm512_load_ps(sums + (kTile + r) * kPanel);
    if (add) {
      __m512i before = _mm512_loadu_si512(y);
      first = _mm512_add_ps(first, WidenedLower(before));
      second = _mm512_add_ps(second, WidenedUpper(before));
    }
    _mm512_storeu_si512(y, Rounded(first, second));
  }
}

LFT_AMX void Wide(const Word* low, int64_t stride, int64_t rows, const Word* panels, int64_t pairs, uint16_t* y, int64_t width, bool add) {
  if (rows < kLowRankBlock || width % kStep != 0) return Avx512LowRankKernels(kPanel)->wide(low, stride, rows, panels, pairs, y, width, add);
  TileShapes tiles;
  tiles.Set(0, 1, kTile, kTileBytes);
  tiles.Set(2, 3, pairs, kTileBytes);
  tiles.Set(4, 7, kTile, pairs * sizeof(Word));
  Written();
  _tile_loadconfig(&tiles);
  const int64_t low_bytes = stride * sizeof(Word);
  _tile_loadd(4, low, low_bytes);
  _tile_loadd(5, low + kTile * stride, low_bytes);
  _tile_loadd(6, low + 2 * kTile * stride, low_bytes);
  _tile_loadd(7, low + 3 * kTile * stride, low_bytes);
  alignas(64) float sums[4][2 * kTile * kPanel];
#define LFT_WIDE_TILE(i, low)           \
  _tile_zero(0);                        \
  _tile_zero(1);                        \
  _tile_dpbf16ps(0, low, 2);            \
  _tile_dpbf16ps(1, low, 3);            \
  _tile_stored(0, sums[i], kTileBytes); \
  _tile_stored(1, sums[i] + kTile * kPanel, kTileBytes)
  for (int64_t j = 0; j < width; j += kStep, panels += 2 * pairs * kPanel) {
    _tile_loadd(2, panels, kTileBytes);
    _tile_loadd(3, panels + pairs * kPanel, kTileBytes);
    LFT_WIDE_TILE(0, 4);
    LFT_WIDE_TILE(1, 5);
    LFT_WIDE_TILE(2, 6);
    LFT_WIDE_TILE(3, 7);
    for (int64_t i = 0; i < 4; i++) Finish(sums[i], y + i * kTile * width + j, width, add);
  }
#undef LFT_WIDE_TILE
  _tile_release();
}

LFT_AMX void SumRows(const uint16_t* low, int64_t rank, const uint16_t* x, int64_t rows, int64_t width, float* sums, bool add) {
  if (rows < kLowRankBlock || width % kStep != 0) return Avx512LowRankKernels(kPanel)->sum(low, rank, x, rows, width, sums, add);
  TileShapes tiles;
  const int64_t first = std::min(kTile, rank), second = rank - first;
  tiles.Set(0, 0, first, kTileBytes);
  tiles.Set(2, 3, kTile, kTileBytes);
  tiles.Set(4, 5, first, kTileBytes);
  if (second > 0) {
    tiles.Set(1, 1, second, kTileBytes);
    tiles.Set(6, 7, second, kTileBytes);
  }
  Written();
  _tile_loadconfig(&tiles);
  const int64_t low_bytes = kLowRankBlock * sizeof(uint16_t), sum_bytes = width * sizeof(float);
  _tile_loadd(4, low, low_bytes);
  _tile_loadd(5, low + kStep, low_bytes);
  if (second > 0) {
    _tile_loadd(6, low + kTile * kLowRankBlock, low_bytes);
    _tile_loadd(7, low + kTile * kLowRankBlock + kStep, low_bytes);
  }
  alignas(64) Word pairs[2][kLowRankBlock / 2 * kPanel];
  for (int64_t j = 0; j < width; j += kStep) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kLowRankBlock / 2; i++) {
      __m512i even = _mm512_loadu_si512(x + 2 * i * width + j), odd = _mm512_loadu_si512(x + (2 * i + 1) * width + j);
      _mm512_store_si512(pairs[0] + i * kPanel, LowPairs(even, odd));
      _mm512_store_si512(pairs[1] + i * kPanel, HighPairs(even, odd));
    }
    Written();
    for (int64_t p = 0; p < 2; p++) {
      float* to = sums + j + p * kPanel;
      _tile_loadd(2, pairs[p], kTileBytes);
      _tile_loadd(3, pairs[p] + kTile * kPanel, kTileBytes);
      if (add) _tile_loadd(0, to, sum_bytes);
      else _tile_zero(0);
      _tile_dpbf16ps(0, 4, 2);
      _tile_dpbf16ps(0, 5, 3);
      _tile_stored(0, to, sum_bytes);
      if (second == 0) continue;
      to += kTile * width;
      if (add) _tile_loadd(1, to, sum_bytes);
      else _tile_zero(1);
      _tile_dpbf16ps(1, 6, 2);
      _tile_dpbf16ps(1, 7, 3);
      _tile_stored(1, to, sum_bytes);
    }
  }
  _tile_release();
}

}  // namespace

const LowRankKernels* AmxLowRankKernels() {
  static const bool has = Avx512LowRankKernels(kPanel) != nullptr && HasAmx();
  static const LowRankKernels kernels = {false, Narrow, Wide, SumRows};
  return has ? &kernels : nullptr;
}

}  // namespace lft
#endif
