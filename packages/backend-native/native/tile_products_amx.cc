#if defined(__x86_64__)
#include <immintrin.h>

#include "amx.h"
#include "tile_kernels_amx.h"
#include "tile_kernels_avx512.h"

#define LFT_AMX __attribute__((target("amx-tile,amx-bf16,avx512f")))

namespace lft {
namespace {

// A tile's rows, and the words of one.
constexpr int64_t kTile = 16;
constexpr int64_t kRowBytes = kTile * sizeof(Word);

// What a tile has of the dimension that is summed over: as many words as fit and leave no rest.
int64_t StepOf(int64_t depth) {
  int64_t steps = (depth + kTile - 1) / kTile;
  while (depth % steps != 0) steps++;
  return depth / steps;
}

// Panels [0, kCount), at most 4: a tile of a for as many of b.
template <int kCount>
LFT_AMX inline void PanelsProduct(const Word* a, int64_t a_bytes, const Word* b, int64_t panel_stride, float* c, int64_t c_bytes, int64_t depth,
                                  int64_t step, bool accumulate) {
  if (accumulate) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (kCount > 1) _tile_loadd(1, c + kPanel, c_bytes);
    if constexpr (kCount > 2) _tile_loadd(2, c + 2 * kPanel, c_bytes);
    if constexpr (kCount > 3) _tile_loadd(3, c + 3 * kPanel, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (kCount > 1) _tile_zero(1);
    if constexpr (kCount > 2) _tile_zero(2);
    if constexpr (kCount > 3) _tile_zero(3);
  }
  for (int64_t k = 0; k < depth; k += step) {
    const Word* panel = b + k * kPanel;
    _tile_loadd(4, a + k, a_bytes);
    _tile_loadd(6, panel, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kCount > 1) {
      _tile_loadd(7, panel + panel_stride, kRowBytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kCount > 2) {
      _tile_loadd(6, panel + 2 * panel_stride, kRowBytes);
      _tile_dpbf16ps(2, 4, 6);
    }
    if constexpr (kCount > 3) {
      _tile_loadd(7, panel + 3 * panel_stride, kRowBytes);
      _tile_dpbf16ps(3, 4, 7);
    }
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (kCount > 1) _tile_stored(1, c + kPanel, c_bytes);
  if constexpr (kCount > 2) _tile_stored(2, c + 2 * kPanel, c_bytes);
  if constexpr (kCount > 3) _tile_stored(3, c + 3 * kPanel, c_bytes);
}

// Panels [0, kCount), at most 2, for two tiles of a, the second one `a_next` words and `c_next` values behind the first.
template <int kCount>
LFT_AMX inline void PairProduct(const Word* a, int64_t a_bytes, int64_t a_next, const Word* b, int64_t panel_stride, float* c, int64_t c_bytes,
                                int64_t c_next, int64_t depth, int64_t step, bool accumulate) {
  if (accumulate) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (kCount > 1) _tile_loadd(1, c + kPanel, c_bytes);
    _tile_loadd(2, c + c_next, c_bytes);
    if constexpr (kCount > 1) _tile_loadd(3, c + c_next + kPanel, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (kCount > 1) _tile_zero(1);
    _tile_zero(2);
    if constexpr (kCount > 1) _tile_zero(3);
  }
  for (int64_t k = 0; k < depth; k += step) {
    const Word* panel = b + k * kPanel;
    _tile_loadd(4, a + k, a_bytes);
    _tile_loadd(6, panel, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kCount > 1) {
      _tile_loadd(7, panel + panel_stride, kRowBytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    _tile_loadd(5, a + a_next + k, a_bytes);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (kCount > 1) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (kCount > 1) _tile_stored(1, c + kPanel, c_bytes);
  _tile_stored(2, c + c_next, c_bytes);
  if constexpr (kCount > 1) _tile_stored(3, c + c_next + kPanel, c_bytes);
}

// Sums of `rows` in two tiles of rows, from tiles of `step` words of a and b.
LFT_AMX void LoadShapes(int64_t rows, int64_t step) {
  int64_t first = rows < kTile ? rows : kTile, second = rows > kTile ? rows - kTile : first;
  TileShapes shapes;
  shapes.Set(0, 1, first, kRowBytes);
  shapes.Set(2, 3, second, kRowBytes);
  shapes.Set(4, 4, first, step * sizeof(Word));
  shapes.Set(5, 5, second, step * sizeof(Word));
  shapes.Set(6, 7, step, kRowBytes);
  __asm__ volatile("" ::: "memory");
  _tile_loadconfig(&shapes);
}

LFT_AMX void Begin() { LoadShapes(2 * kTile, kTile); }
LFT_AMX void End() { _tile_release(); }

// Begin() has loaded the shapes of whole tiles, and they are loaded again after others.
LFT_AMX void Product(const Word* a, int64_t a_stride, const Word* b, int64_t panel_stride, float* c, int64_t c_stride, int64_t rows, int64_t depth,
                     int64_t panels, bool accumulate) {
  const bool whole = rows % kTile == 0 && depth % kTile == 0;
  const int64_t step = whole ? kTile : StepOf(depth), a_bytes = a_stride * sizeof(Word), c_bytes = c_stride * sizeof(float);
  if (!whole) LoadShapes(rows, step);
  // The compiler does not know that tiles are loaded from what was written before.
  __asm__ volatile("" ::: "memory");
  if (rows > kTile) {
    const int64_t a_next = kTile * a_stride, c_next = kTile * c_stride;
    for (; panels >= 2; panels -= 2, b += 2 * panel_stride, c += 2 * kPanel) {
      PairProduct<2>(a, a_bytes, a_next, b, panel_stride, c, c_bytes, c_next, depth, step, accumulate);
    }
    if (panels == 1) PairProduct<1>(a, a_bytes, a_next, b, panel_stride, c, c_bytes, c_next, depth, step, accumulate);
  } else {
    for (; panels >= 4; panels -= 4, b += 4 * panel_stride, c += 4 * kPanel) {
      PanelsProduct<4>(a, a_bytes, b, panel_stride, c, c_bytes, depth, step, accumulate);
    }
    if (panels == 3) PanelsProduct<3>(a, a_bytes, b, panel_stride, c, c_bytes, depth, step, accumulate);
    if (panels == 2) PanelsProduct<2>(a, a_bytes, b, panel_stride, c, c_bytes, depth, step, accumulate);
    if (panels == 1) PanelsProduct<1>(a, a_bytes, b, panel_stride, c, c_bytes, depth, step, accumulate);
  }
  if (!whole) Begin();
}

}  // namespace

const TileKernels* AmxTileKernels() {
  static const TileKernels* vectors = Avx512TileKernels(Type::kBf16);
  if (vectors == nullptr || !HasAmx()) return nullptr;
  static const TileKernels kernels = [] {
    TileKernels made = *vectors;
    made.rows = 2 * kTile;
    made.begin = Begin;
    made.end = End;
    made.product = Product;
    return made;
  }();
  return &kernels;
}

}  // namespace lft
#endif
