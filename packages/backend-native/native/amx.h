#pragma once
#include <cstdint>

namespace lft {

// Whether this process may use the matrix units (AMX) for bf16 and int8: Linux gives them to a process that asks.
bool HasAmx();

// The shapes of the units' eight tiles, as LDTILECFG takes them: at most 16 rows of at most 64 bytes. A thread loads it before it uses tiles, as
// oneDNN leaves another one behind, and releases them afterwards.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};

  // Of the tiles from `first` to `last`.
  void Set(int first, int last, int64_t tile_rows, int64_t row_bytes) {
    for (int i = first; i <= last; i++) {
      rows[i] = static_cast<uint8_t>(tile_rows);
      bytes[i] = static_cast<uint16_t>(row_bytes);
    }
  }
};
static_assert(sizeof(TileShapes) == 64);

}  // namespace lft
