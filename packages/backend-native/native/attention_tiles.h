#pragma once
#include <cstdint>
#include <type_traits>

#include "fused.h"
#include "tile_kernels.h"

// What attention and its gradient share.

namespace lft {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

// Slots of scratch memory.
constexpr int kTileSlot = 8, kWidenedSlot = 9;

// Cuts a block of memory into arrays. Without a block it only adds up what they need.
class Pieces {
 public:
  explicit Pieces(void* block = nullptr) : base_(reinterpret_cast<uintptr_t>(block)) {}

  template <typename T>
  T* Take(int64_t count) {
    auto* piece = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  uintptr_t base_;
  int64_t used_ = 0;
};

// Of an array [batch, length, heads, width]: the row of a position of a head.
template <typename Pointer>
Pointer RowOf(Pointer x, const AttentionShape& s, int64_t batch, int64_t position, int64_t head, int64_t length, int64_t heads) {
  using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const char, char>;
  return static_cast<Byte*>(x) + ((batch * length + position) * heads + head) * s.width * BytesOf(s.type);
}

// The keys that each query of a row of the batch sees [queries]: from the beginning of its document to its own position. Both ends rise.
void VisibleKeys(const AttentionShape& shape, int64_t batch, Range* keys);
// The queries that see each key [keys]: from its own position to the end of its document. Both ends rise; empty where all those are past.
void SeeingQueries(const AttentionShape& shape, int64_t batch, Range* queries);

// Panels of the rows of a head, summed over the width: panel t / 16 begins at word t · words of a row.
void PackTransposed(const TileKernels& kernels, const void* x, int64_t stride, Word* panels, int64_t rows, int64_t width);

}  // namespace lft
