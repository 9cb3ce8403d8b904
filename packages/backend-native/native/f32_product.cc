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
// How many values of a row are asked for ahead of time.
constexpr int64_t kAhead = 64;
constexpr int kSlot = 0;

// 16 lines of a matrix, `stride` values apart, of which so many are there, each with up to `length` values: transposed, and zeros elsewhere.
template <Type type>
LFT_VECTORS inline void LoadTransposed(const void* x, int64_t at, int64_t stride, int64_t lines, int64_t length, __m512i* r) {
  for (int64_t i = 0; i < 16; i++) {
    r[i] = i < lines ? _mm512_castps_si512(LoadValues<type>(x, at + i * stride, FirstLanes(length))) : _mm512_setzero_si512();
  }
  Transpose16(r);
}

// Two tiles of a's rows, from `row` on: each [inner, kTile], with zeros behind the last row. Where there is only one, only that is written.
template <Type type>
LFT_VECTORS void PackTiles(const Matrix& a, int64_t row, float* tiles) {
  int64_t rows = a.rows - row;
  auto put = [&](int64_t k, __m512i column) __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"), always_inline)) {
    float* to = tiles + k * kTile;
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(column));
    if (rows > kTile) _mm256_store_si256(reinterpret_cast<__m256i*>(to + a.columns * kTile), _mm512_extracti64x4_epi64(column, 1));
  };
  if (a.row_stride == 1) {
    for (int64_t k = 0; k < a.columns; k++) put(k, _mm512_castps_si512(LoadValues<type>(a.data, k * a.column_stride + row, FirstLanes(rows))));
    return;
  }
  for (int64_t k = 0; k < a.columns; k += 16) {
    __m512i columns[16];
    LoadTransposed<type>(a.data, row * a.row_stride + k, a.row_stride, rows, a.columns - k, columns);
    for (int64_t c = 0; c < std::min<int64_t>(16, a.columns - k); c++) put(k + c, columns[c]);
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
      __m512i rows[16];
      LoadTransposed<type>(b.data, (n + j) * b.column_stride + k + i, b.column_stride, b.columns - n - j, depth - i, rows);
      for (int64_t r = 0; r < std::min<int64_t>(16, depth - i); r++) _mm512_store_si512(to + (i + r) * kPanel + j, rows[r]);
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

// A tile of the result. Over the first and up to the last part of the inner dimension its sums [kTile, kPanel] are kept; then they go to c, or
// are added to it.
struct Tile {
  float* sums;
  bool first, last;
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

LFT_VECTORS void MultiplyTile(const float* a, const float* b, int64_t depth, const Tile& tile) {
  // Read through the tile in the loops below, they would keep the compiler from holding the sums in registers.
  float* sums = tile.sums;
  bool first = tile.first;
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
  if (!HasVectors() || rows < 2 * kTile || columns < kPanel) return false;
  int64_t tiles = (rows + kTile - 1) / kTile, panels = (columns + kPanel - 1) / kPanel;
  // In whole cache lines.
  int64_t packed = (tiles * kTile * inner + 15) / 16 * 16, sums = inner > kDepth ? tiles * kTile * kPanel : 0, own = kDepth * kPanel + sums;
  auto* memory = static_cast<float*>(Scratch(kSlot, (packed + omp_get_max_threads() * own) * static_cast<int64_t>(sizeof(float))));
  auto* pack_tiles = a.type == Type::kF32 ? PackTiles<Type::kF32> : PackTiles<Type::kBf16>;
  auto* pack_panel = b.type == Type::kF32 ? PackPanel<Type::kF32> : PackPanel<Type::kBf16>;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t t = 0; t < tiles; t += 2) pack_tiles(a, t * kTile, memory + t * kTile * inner);
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
          MultiplyTile(memory + (t * inner + k) * kTile, panel, depth,
                       {partial + t * kTile * kPanel, k == 0, k + depth == inner, c, t * kTile * columns + n, columns, std::min(kTile, rows - t * kTile), columns - n, accumulate});
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
