#pragma once
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "bf16_units.h"
#include "fused.h"
#include "tile_kernels.h"

// What attention and its gradient share.

namespace lft {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

// Slots of scratch memory.
constexpr int kTileSlot = 8, kWidenedSlot = 9;

// nullptr where bf16 has to be widened first, or is better widened.
inline const TileKernels* KernelsFor(const AttentionShape& s) {
  return s.type == Type::kBf16 && !HasFastBf16Units() ? nullptr : ChooseTileKernels(s.type, s.width);
}

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
inline const char* RowOf(const void* x, const AttentionShape& s, int64_t batch, int64_t position, int64_t head, int64_t length, int64_t heads) {
  return static_cast<const char*>(x) + ((batch * length + position) * heads + head) * s.width * BytesOf(s.type);
}
inline char* RowOf(void* x, const AttentionShape& s, int64_t batch, int64_t position, int64_t head, int64_t length, int64_t heads) {
  return static_cast<char*>(x) + ((batch * length + position) * heads + head) * s.width * BytesOf(s.type);
}

// The keys that each query of a row of the batch sees [queries]: from the beginning of its document to its own position. Both ends rise.
void VisibleKeys(const AttentionShape& shape, int64_t batch, Range* keys);
// The queries that see each key [keys]: from its own position to the end of its document. Both ends rise; empty where all those are past.
void SeeingQueries(const AttentionShape& shape, int64_t batch, Range* queries);

// Panels of the rows of a head, summed over the width: panel t / 16 begins at word t · words of a row.
void PackTransposed(const TileKernels& kernels, const void* x, int64_t stride, Word* panels, int64_t rows, int64_t width);

// Words of `rows` that are summed over, up to a multiple of a panel's.
inline int64_t WholeWords(const TileKernels& kernels, int64_t rows) { return CountPanels((rows + kernels.pack - 1) / kernels.pack) * kPanel; }

// Panels of the rows of a head, summed over the rows, and zeros behind them up to WholeWords.
void PackRows(const TileKernels& kernels, const void* x, int64_t stride, Word* panels, int64_t panel_stride, int64_t rows, int64_t width);

// Items of work, a share for each thread: a thread takes those of its own share, whose operands it likely has in its cache from call to call,
// and then what others have left.
class Shares {
 public:
  explicit Shares(int64_t items) : shares_(omp_get_max_threads()) {
    int64_t threads = shares_.size();
    for (int64_t t = 0; t < threads; t++) shares_[t].next = items * t / threads, shares_[t].end = items * (t + 1) / threads;
  }

  // Calls body(item, likely the thread's next one).
  template <typename Body>
  void Take(const Body& body) {
    int64_t threads = shares_.size(), own = omp_get_thread_num();
    for (int64_t t = own; t < own + threads; t++) {
      Share& share = shares_[t % threads];
      for (int64_t i = share.next++; i < share.end; i = share.next++) body(i, std::min(i + 1, share.end - 1));
    }
  }

 private:
  struct alignas(64) Share {
    std::atomic<int64_t> next;
    int64_t end;
  };
  std::vector<Share> shares_;
};

// While it lives, its thread is ready for products.
class ReadyForProducts {
 public:
  explicit ReadyForProducts(const TileKernels& kernels) : end_(kernels.end) {
    if (kernels.begin != nullptr) kernels.begin();
  }
  ~ReadyForProducts() {
    if (end_ != nullptr) end_();
  }
  ReadyForProducts(const ReadyForProducts&) = delete;
  ReadyForProducts& operator=(const ReadyForProducts&) = delete;

 private:
  void (*end_)();
};

// Asks for rows of heads before they are needed, a few at a time during other work: they lie apart, where the processor does not look by
// itself, and what it is asked for all at once it forgets.
template <int kStreams>
class Ahead {
 public:
  // Rows of a position each, `stride` values apart, in place of those that the stream had.
  void Read(int stream, const AttentionShape& s, const void* x, int64_t stride, int64_t rows) { Set(stream, s, x, stride, rows, false); }
  void Write(int stream, const AttentionShape& s, const void* x, int64_t stride, int64_t rows) { Set(stream, s, x, stride, rows, true); }

  void Step(int64_t rows) {
    for (Stream& stream : streams_) {
      for (int64_t r = std::min(rows, stream.rows); r > 0; r--, stream.rows--, stream.at += stream.stride) {
        for (int64_t byte = 0; byte < stream.bytes; byte += 64) {
          if (stream.write) __builtin_prefetch(stream.at + byte, 1);
          else __builtin_prefetch(stream.at + byte, 0);
        }
      }
    }
  }

 private:
  struct Stream {
    const char* at = nullptr;
    int64_t stride = 0, bytes = 0, rows = 0;
    bool write = false;
  };
  void Set(int stream, const AttentionShape& s, const void* x, int64_t stride, int64_t rows, bool write) {
    streams_[stream] = {static_cast<const char*>(x), stride * BytesOf(s.type), s.width * BytesOf(s.type), rows, write};
  }
  Stream streams_[kStreams];
};

}  // namespace lft
