#include "f32_product.h"

#if defined(__x86_64__)
#include <omp.h>

#include <algorithm>

#include "memory.h"
#include "vectors_avx512.h"

// As in Goto and van de Geijn 2008: a part of b's columns that stays in the second cache is multiplied with all rows of a, a few at a time, whose
// sums are registers.

namespace lft {
namespace {

// Rows and columns of the sums at a time: 24 of 32 registers.
constexpr int64_t kTile = 8, kPanel = 48;
// Of the inner dimension at a time: 108 KiB of b.
constexpr int64_t kDepth = 576;
constexpr int64_t kSmallest = int64_t{1} << 20;
// How many values of a row are asked for ahead of time.
constexpr int64_t kAhead = 64;
constexpr int kSlot = 0;

// a's rows: value (i, k) at rows[(i / kTile · inner + k) · kTile + i % kTile], zeros behind the last one.
template <Type type>
LFT_VECTORS void PackTile(const Matrix& a, int64_t row, float* to) {
  int64_t rows = std::min(kTile, a.rows - row);
  if (a.row_stride == 1) {
    for (int64_t k = 0; k < a.columns; k++, to += kTile) {
      _mm256_store_ps(to, _mm512_castps512_ps256(LoadValues<type>(a.data, k * a.column_stride + row, FirstLanes(rows))));
    }
    return;
  }
  for (int64_t k = 0; k < a.columns; k += 16) {
    __m512d r[kTile];
#pragma GCC unroll 8
    for (int64_t i = 0; i < kTile; i++) {
      __m512 values = i < rows ? LoadValues<type>(a.data, (row + i) * a.row_stride + k, FirstLanes(a.columns - k)) : _mm512_setzero_ps();
      r[i] = _mm512_castps_pd(values);
    }
    // Rows 0 to 3, and 4 to 7, of columns j, 4 + j, 8 + j and 12 + j.
    __m512d quads[4][2];
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
      const __m512d* own = r + 4 * half;
      auto low = [&](int i) __attribute__((target("avx512f"), always_inline)) {
        return _mm512_castps_pd(_mm512_unpacklo_ps(_mm512_castpd_ps(own[i]), _mm512_castpd_ps(own[i + 1])));
      };
      auto high = [&](int i) __attribute__((target("avx512f"), always_inline)) {
        return _mm512_castps_pd(_mm512_unpackhi_ps(_mm512_castpd_ps(own[i]), _mm512_castpd_ps(own[i + 1])));
      };
      quads[0][half] = _mm512_unpacklo_pd(low(0), low(2));
      quads[1][half] = _mm512_unpackhi_pd(low(0), low(2));
      quads[2][half] = _mm512_unpacklo_pd(high(0), high(2));
      quads[3][half] = _mm512_unpackhi_pd(high(0), high(2));
    }
    // All rows of columns j and 4 + j, and of 8 + j and 12 + j.
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512d eights[2][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      eights[0][j] = _mm512_permutex2var_pd(quads[j][0], first, quads[j][1]);
      eights[1][j] = _mm512_permutex2var_pd(quads[j][0], second, quads[j][1]);
    }
#pragma GCC unroll 4
    for (int64_t j = 0; j < 16; j += 4) {
      const __m512d* own = eights[j / 8];
      __m512d pairs[2];
      for (int i = 0; i < 2; i++) {
        pairs[i] = j % 8 == 0 ? _mm512_shuffle_f64x2(own[2 * i], own[2 * i + 1], 0x44) : _mm512_shuffle_f64x2(own[2 * i], own[2 * i + 1], 0xee);
        // Columns behind the last one are not there to be written.
        int64_t at = k + j + 2 * i, left = a.columns - at;
        _mm512_mask_storeu_ps(to + at * kTile, FirstLanes(left * kTile), _mm512_castpd_ps(pairs[i]));
      }
    }
  }
}

// b's rows [k, k + depth) of columns [n, n + kPanel), as [depth, kPanel]; zeros behind the last column.
template <Type type>
LFT_VECTORS void PackPanel(const Matrix& b, int64_t k, int64_t depth, int64_t n, float* to) {
  if (b.column_stride == 1) {
    for (int64_t i = 0; i < depth; i++, to += kPanel) {
      for (int64_t j = 0; j < kPanel; j += 16) {
        _mm512_store_ps(to + j, LoadValues<type>(b.data, (k + i) * b.row_stride + n + j, FirstLanes(b.columns - n - j)));
      }
    }
    return;
  }
  for (int64_t j = 0; j < kPanel; j += 16) {
    for (int64_t i = 0; i < depth; i += 16) {
      __m512i r[16];
      for (int64_t c = 0; c < 16; c++) {
        bool there = n + j + c < b.columns;
        r[c] = there ? _mm512_castps_si512(LoadValues<type>(b.data, (n + j + c) * b.column_stride + k + i, FirstLanes(depth - i))) : _mm512_setzero_si512();
      }
      Transpose16(r);
      for (int64_t c = 0; c < std::min<int64_t>(16, depth - i); c++) _mm512_store_si512(to + (i + c) * kPanel + j, r[c]);
    }
  }
}

// Asks for part `part` of `parts` of what PackPanel will read.
void Prefetch(const Matrix& b, int64_t k, int64_t depth, int64_t n, int64_t part, int64_t parts) {
  bool rows = b.column_stride == 1;
  int64_t lines = rows ? depth : std::min(kPanel, b.columns - n), bytes = (rows ? std::min(kPanel, b.columns - n) : depth) * BytesOf(b.type);
  const char* first = static_cast<const char*>(b.data) + (k * b.row_stride + n * b.column_stride) * BytesOf(b.type);
  int64_t stride = (rows ? b.row_stride : b.column_stride) * BytesOf(b.type);
  for (int64_t i = lines * part / parts; i < lines * (part + 1) / parts; i++) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(first + i * stride + at, 0, 2);
  }
}

// Where a tile's sums go, and where they begin.
struct Tile {
  float* sums;  // [kTile, kPanel], of the parts of the inner dimension before; nullptr for the first
  bool last;
  const Values& c;
  int64_t at, stride, rows, columns;
  bool accumulate;
};

template <Type type>
LFT_VECTORS inline void WriteRow(const __m512* sums, const Tile& tile, int64_t r) {
  int64_t at = tile.at + r * tile.stride;
#pragma GCC unroll 3
  for (int j = 0; j < 3; j++) {
    __mmask16 mask = FirstLanes(tile.columns - 16 * j);
    __m512 value = tile.accumulate ? _mm512_add_ps(sums[j], LoadValues<type>(tile.c.data, at + 16 * j, mask)) : sums[j];
    StoreValues<type>(tile.c.data, at + 16 * j, mask, value);
  }
}

LFT_VECTORS void MultiplyTile(const float* a, const float* b, int64_t depth, bool first, float* sums, const Tile& tile) {
  __m512 sum[kTile][3];
#pragma GCC unroll 8
  for (int r = 0; r < kTile; r++)
#pragma GCC unroll 3
    for (int j = 0; j < 3; j++) sum[r][j] = first ? _mm512_setzero_ps() : _mm512_load_ps(sums + r * kPanel + 16 * j);
  for (int64_t k = 0; k < depth; k++, a += kTile, b += kPanel) {
    __builtin_prefetch(a + kAhead * kTile);
    __m512 right[3] = {_mm512_load_ps(b), _mm512_load_ps(b + 16), _mm512_load_ps(b + 32)};
#pragma GCC unroll 8
    for (int r = 0; r < kTile; r++) {
      __m512 left = _mm512_set1_ps(a[r]);
#pragma GCC unroll 3
      for (int j = 0; j < 3; j++) sum[r][j] = _mm512_fmadd_ps(left, right[j], sum[r][j]);
    }
  }
  if (!tile.last) {
#pragma GCC unroll 8
    for (int r = 0; r < kTile; r++)
#pragma GCC unroll 3
      for (int j = 0; j < 3; j++) _mm512_store_ps(sums + r * kPanel + 16 * j, sum[r][j]);
    return;
  }
  auto* write = tile.c.type == Type::kF32 ? WriteRow<Type::kF32> : WriteRow<Type::kBf16>;
#pragma GCC unroll 8
  for (int r = 0; r < kTile; r++) {
    if (r < tile.rows) write(sum[r], tile, r);
  }
}

}  // namespace

bool F32Product(const Matrix& a, const Matrix& b, const Values& c, bool accumulate) {
  int64_t rows = a.rows, inner = a.columns, columns = b.columns;
  if (!HasVectors() || rows * inner * columns < kSmallest || rows < 2 * kTile || columns < kPanel) return false;
  int64_t tiles = (rows + kTile - 1) / kTile, panels = (columns + kPanel - 1) / kPanel;
  // In whole cache lines.
  int64_t packed = (tiles * kTile * inner + 15) / 16 * 16, sums = inner > kDepth ? tiles * kTile * kPanel : 0, own = kDepth * kPanel + sums;
  auto* memory = static_cast<float*>(Scratch(kSlot, (packed + omp_get_max_threads() * own) * static_cast<int64_t>(sizeof(float))));
  auto* pack_tile = a.type == Type::kF32 ? PackTile<Type::kF32> : PackTile<Type::kBf16>;
  auto* pack_panel = b.type == Type::kF32 ? PackPanel<Type::kF32> : PackPanel<Type::kBf16>;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t t = 0; t < tiles; t++) pack_tile(a, t * kTile, memory + t * kTile * inner);
    // Tiles of the result, panel by panel, in equal shares: two threads may share a panel, which both copy.
    int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    int64_t begin = panels * tiles * thread / threads, end = panels * tiles * (thread + 1) / threads;
    float *panel = memory + packed + thread * own, *partial = panel + kDepth * kPanel;
    while (begin < end) {
      int64_t p = begin / tiles, n = p * kPanel, first = begin % tiles, last = std::min(tiles, first + end - begin);
      for (int64_t k = 0; k < inner; k += kDepth) {
        int64_t depth = std::min(kDepth, inner - k), next_k = k + depth, next_n = n;
        pack_panel(b, k, depth, n, panel);
        if (next_k == inner) next_k = 0, next_n += kPanel;
        for (int64_t t = first; t < last; t++) {
          if (next_n < columns) Prefetch(b, next_k, std::min(kDepth, inner - next_k), next_n, t - first, last - first);
          MultiplyTile(memory + (t * inner + k) * kTile, panel, depth, k == 0, partial + t * kTile * kPanel,
                       {partial, k + depth == inner, c, t * kTile * columns + n, columns, std::min(kTile, rows - t * kTile), columns - n, accumulate});
        }
      }
      begin += last - first;
    }
  }
  return true;
}

}  // namespace lft

#else

namespace lft {

bool F32Product(const Matrix&, const Matrix&, const Values&, bool) { return false; }

}  // namespace lft
#endif
