#include "low_rank_blocks.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "attention_tiles.h"
#include "low_rank_kernels.h"
#include "memory.h"

namespace lft {

const LowRankKernels* ChooseLowRankKernels(const LowRankShape& s) {
  // Rows in whole words, of which AVX-512 takes two at a time. Factors are packed, which few rows do not repay.
  if (s.rank > kLargestLowRank || s.rows < kLowRankBlock || s.in % 4 != 0 || s.out % 4 != 0) return nullptr;
#if defined(__x86_64__)
  if (const LowRankKernels* kernels = AmxLowRankKernels()) return kernels;
  return Avx512LowRankKernels(s.rank);
#else
  return nullptr;
#endif
}

namespace {

constexpr int kSlot = 7;

int64_t Padded(int64_t width) { return CountPanels(width) * kPanel; }
void Transpose(const void* x, int64_t stride, void* out, int64_t out_stride, int64_t rows, int64_t columns) {
  ChooseTileKernels(Type::kBf16, 2)->transpose(static_cast<const Word*>(x), stride, static_cast<Word*>(out), out_stride, rows, columns);
}

// A factor W [rank, width] in bf16.
struct Factor {
  int64_t rank, width;
  uint16_t* rows;
  float* turned;

  Factor(Pieces& pieces, int64_t rank, int64_t width)
      : rank(rank), width(width), rows(pieces.Take<uint16_t>(rank * width)), turned(pieces.Take<float>(rank * Padded(width))) {}

  void Round(const float* w) const { ToBf16(w, rows, rank * width); }
  void RoundTransposed(const float* w) const {
    Transpose(w, rank, turned, Padded(width), width, rank);
    for (int64_t r = 0; r < rank; r++) ToBf16(turned + r * Padded(width), rows + r * width, width);
  }
};

struct NarrowFactor : Factor {
  int64_t panel;  // words
  Word* panels;

  NarrowFactor(Pieces& pieces, int64_t rank, int64_t width)
      : Factor(pieces, rank, width), panel(width / 2 * kPanel), panels(pieces.Take<Word>(CountPanels(rank) * panel)) {}

  void Pack(const LowRankKernels& kernels) const {
    if (kernels.halves) {
      auto* to = reinterpret_cast<uint64_t*>(panels);
      auto* from = reinterpret_cast<const uint64_t*>(rows);
      for (int64_t k = 0; k < width / 4; k++)
        for (int64_t r = 0; r < kPanel / 2; r++) *to++ = r < rank ? from[r * (width / 4) + k] : 0;
      return;
    }
    for (int64_t r = 0; r < rank; r += kPanel) {
      Transpose(rows + r * width, width / 2, panels + r / kPanel * panel, kPanel, std::min(kPanel, rank - r), width / 2);
    }
  }
  // sums [count, Padded(rank)]
  void Multiply(const LowRankKernels& kernels, const uint16_t* x, int64_t count, float* sums) const {
    for (int64_t r = 0; r < rank; r += kPanel) kernels.narrow(x, count, width, panels + r / kPanel * panel, sums + r, Padded(rank));
  }
};

struct WideFactor : Factor {
  int64_t pairs;
  Word* panels;

  WideFactor(Pieces& pieces, int64_t rank, int64_t width)
      : Factor(pieces, rank, width), pairs((rank + 1) / 2), panels(pieces.Take<Word>((CountPanels(width) + 1) / 2 * 2 * kPanel * pairs)) {}

  void Pack() const { ChooseTileKernels(Type::kBf16, 2)->pack_rows(rows, width, panels, pairs * kPanel, rank, width); }
  void Multiply(const LowRankKernels& kernels, const uint16_t* low, int64_t count, uint16_t* y, bool add) const {
    kernels.wide(reinterpret_cast<const Word*>(low), Padded(rank) / 2, count, panels, pairs, y, width, add);
  }
};

// What a block makes of its rows: sums, then rounded, and transposed.
struct LowBlock {
  float *sums, *turned;  // [kLowRankBlock, Padded(rank)], [rank, kLowRankBlock]
  uint16_t *rows, *columns;

  LowBlock(Pieces& pieces, int64_t rank)
      : sums(pieces.Take<float>(kLowRankBlock * Padded(rank))), turned(pieces.Take<float>(rank * kLowRankBlock)),
        rows(pieces.Take<uint16_t>(kLowRankBlock * Padded(rank))), columns(pieces.Take<uint16_t>(rank * kLowRankBlock)) {}

  void Round(int64_t count, const LowRankShape& s) const {
    for (int64_t i = 0; i < count * Padded(s.rank); i++) sums[i] *= s.scale;
    ToBf16(sums, rows, count * Padded(s.rank));
    Transpose(sums, Padded(s.rank), turned, kLowRankBlock, count, s.rank);
    ToBf16(turned, columns, s.rank * kLowRankBlock);
  }
};

// Calls body(part, first row, rows, whether it is the part's first block) for blocks of rows; a part is one thread's.
template <typename Body>
void ForBlocks(int64_t rows, int64_t parts, const Body& body) {
  int64_t blocks = (rows + kLowRankBlock - 1) / kLowRankBlock;
#pragma omp parallel for schedule(static, 1) num_threads(parts)
  for (int64_t part = 0; part < parts; part++) {
    int64_t begin = blocks * part / parts, end = blocks * (part + 1) / parts;
    for (int64_t block = begin; block < end; block++) {
      body(part, block * kLowRankBlock, std::min(kLowRankBlock, rows - block * kLowRankBlock), block == begin);
    }
  }
}
int64_t PartsOf(int64_t rows) { return std::min<int64_t>((rows + kLowRankBlock - 1) / kLowRankBlock, omp_get_max_threads()); }

// Runs both, in two threads where there are two.
template <typename First, typename Second>
void Both(const First& first, const Second& second) {
#pragma omp parallel for schedule(static, 1)
  for (int i = 0; i < 2; i++) i == 0 ? first() : second();
}

// What all threads read, and what each writes.
template <typename Shared, typename Own>
class Memory {
 public:
  Memory(const LowRankShape& s, int64_t parts) : s_(s) {
    Pieces shared, own;
    Shared(shared, s);
    Own(own, s);
    shared_bytes_ = shared.used();
    own_bytes_ = own.used();
    block_ = static_cast<char*>(Scratch(kSlot, shared_bytes_ + parts * own_bytes_));
  }
  Shared All() const {
    Pieces pieces(block_);
    return {pieces, s_};
  }
  Own Of(int64_t part) const {
    Pieces pieces(block_ + shared_bytes_ + part * own_bytes_);
    return {pieces, s_};
  }

 private:
  const LowRankShape& s_;
  int64_t shared_bytes_, own_bytes_;
  char* block_;
};

struct Forward {
  NarrowFactor a;
  WideFactor b;
  Forward(Pieces& pieces, const LowRankShape& s) : a(pieces, s.rank, s.in), b(pieces, s.rank, s.out) {}
};
struct ForwardBlock {
  LowBlock low;
  ForwardBlock(Pieces& pieces, const LowRankShape& s) : low(pieces, s.rank) {}
};

struct Backward {
  NarrowFactor b;
  WideFactor a;
  Backward(Pieces& pieces, const LowRankShape& s) : b(pieces, s.rank, s.out), a(pieces, s.rank, s.in) {}
};
struct BackwardBlock {
  LowBlock d_low;
  uint16_t *low, *dy;       // [rank, kLowRankBlock], [kLowRankBlock, out]
  float *da, *db, *turned;  // [rank, Padded(in)], [rank, Padded(out)], [out, Padded(rank)]
  BackwardBlock(Pieces& pieces, const LowRankShape& s)
      : d_low(pieces, s.rank), low(pieces.Take<uint16_t>(s.rank * kLowRankBlock)), dy(pieces.Take<uint16_t>(kLowRankBlock * s.out)),
        da(pieces.Take<float>(s.rank * Padded(s.in))), db(pieces.Take<float>(s.rank * Padded(s.out))),
        turned(pieces.Take<float>(s.out * Padded(s.rank))) {}
};

void AddTo(float* sum, const float* x, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) sum[i] += x[i];
}

}  // namespace

bool LowRankBlocks(const Values& x, const float* a, const float* b, const Values& low, const Values& y, const LowRankShape& s) {
  const LowRankKernels* kernels = x.type == Type::kBf16 && y.type == Type::kBf16 ? ChooseLowRankKernels(s) : nullptr;
  if (kernels == nullptr) return false;
  int64_t parts = PartsOf(s.rows);
  Memory<Forward, ForwardBlock> memory(s, parts);
  Forward factors = memory.All();
  Both([&] { factors.a.Round(a), factors.a.Pack(*kernels); }, [&] { factors.b.RoundTransposed(b), factors.b.Pack(); });
  auto *from = static_cast<const uint16_t*>(x.data);
  auto *kept = static_cast<uint16_t*>(low.data), *to = static_cast<uint16_t*>(y.data);
  ForBlocks(s.rows, parts, [&](int64_t part, int64_t row, int64_t count, bool) {
    LowBlock block = memory.Of(part).low;
    factors.a.Multiply(*kernels, from + row * s.in, count, block.sums);
    block.Round(count, s);
    for (int64_t r = 0; r < s.rank; r++) std::memcpy(kept + r * s.rows + row, block.columns + r * kLowRankBlock, count * sizeof(uint16_t));
    factors.b.Multiply(*kernels, block.rows, count, to + row * s.out, true);
  });
  return true;
}

bool LowRankBlocksGradients(const Values& dy, const Values& x, const float* a, const float* b, const Values& low, const Values& dx, float* da,
                            float* db, bool adds, const LowRankShape& s) {
  const LowRankKernels* kernels = low.type == Type::kBf16 ? ChooseLowRankKernels(s) : nullptr;
  if (kernels == nullptr) return false;
  int64_t parts = PartsOf(s.rows);
  Memory<Backward, BackwardBlock> memory(s, parts);
  Backward factors = memory.All();
  Both([&] { factors.b.RoundTransposed(b), factors.b.Pack(*kernels); },
       [&] {
         if (dx.data == nullptr) return;
         factors.a.Round(a);
         factors.a.Pack();
       });
  auto *from = static_cast<const uint16_t*>(x.data), *kept = static_cast<const uint16_t*>(low.data);
  auto *to = static_cast<uint16_t*>(dx.data);
  ForBlocks(s.rows, parts, [&](int64_t part, int64_t row, int64_t count, bool first) {
    BackwardBlock block = memory.Of(part);
    const uint16_t* d = static_cast<const uint16_t*>(dy.data) + row * s.out;
    if (dy.type == Type::kF32) {
      ToBf16(static_cast<const float*>(dy.data) + row * s.out, block.dy, count * s.out);
      d = block.dy;
    }
    factors.b.Multiply(*kernels, d, count, block.d_low.sums);
    block.d_low.Round(count, s);
    if (db != nullptr) {
      for (int64_t r = 0; r < s.rank; r++) {
        std::memcpy(block.low + r * kLowRankBlock, kept + r * s.rows + row, count * sizeof(uint16_t));
        std::memset(block.low + r * kLowRankBlock + count, 0, (kLowRankBlock - count) * sizeof(uint16_t));
      }
      kernels->sum(block.low, s.rank, d, count, s.out, block.db, !first);
    }
    if (da != nullptr) kernels->sum(block.d_low.columns, s.rank, from + row * s.in, count, s.in, block.da, !first);
    if (to != nullptr) factors.a.Multiply(*kernels, block.d_low.rows, count, to + row * s.in, adds);
  });
  // Parts are added in their order, so that a number of threads always gives the same bits.
  BackwardBlock sum = memory.Of(0);
  Both(
      [&] {
        if (da == nullptr) return;
        for (int64_t part = 1; part < parts; part++) AddTo(sum.da, memory.Of(part).da, s.rank * Padded(s.in));
        for (int64_t r = 0; r < s.rank; r++) std::memcpy(da + r * s.in, sum.da + r * Padded(s.in), s.in * sizeof(float));
      },
      [&] {
        if (db == nullptr) return;
        for (int64_t part = 1; part < parts; part++) AddTo(sum.db, memory.Of(part).db, s.rank * Padded(s.out));
        Transpose(sum.db, Padded(s.out), sum.turned, Padded(s.rank), s.rank, s.out);
        for (int64_t o = 0; o < s.out; o++) std::memcpy(db + o * s.rank, sum.turned + o * Padded(s.rank), s.rank * sizeof(float));
      });
  return true;
}

}  // namespace lft
