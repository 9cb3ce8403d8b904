#include "attention_decode.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention_tiles.h"
#include "memory.h"
#include "share_out.h"
#include "vector_math.h"

// One query per row of the batch: the work is to read keys and values once, in the order in which they lie. Blocks of keys go to different
// threads and their results are joined, in the same way for any number of threads.

namespace lft {
namespace {

// Keys in a block, and among them those that all heads are through with before the next.
constexpr int64_t kKeys = 128, kStep = 16;
// Values of keys below which one thread is enough.
constexpr int64_t kSmall = int64_t{1} << 16;

// What a block of keys gives for a query head, before it is divided by the sum.
struct Part {
  float maximum, sum;
};

struct Sizes {
  int64_t group, slices;   // query heads of a key-value head, and how many times kRows those are
  int64_t blocks, columns;
  bool widen;              // bf16 that the processor cannot multiply

  Sizes(const AttentionShape& s, const TileKernels* kernels)
      : group(s.heads / s.kv_heads), slices((group + kRows - 1) / kRows), blocks((s.keys + kKeys - 1) / kKeys),
        columns(CountPanels(s.width) * kPanel), widen(kernels == nullptr) {}
};

struct Shared {
  Range* visible;  // [batch]
  Part* parts;     // [batch, blocks, heads]
  float* mixed;    // [batch, blocks, heads, columns]

  Shared(Pieces& pieces, const AttentionShape& s, const Sizes& sizes)
      : visible(pieces.Take<Range>(s.batch)), parts(pieces.Take<Part>(s.batch * sizes.blocks * s.heads)),
        mixed(pieces.Take<float>(s.batch * sizes.blocks * s.heads * sizes.columns)) {}
};

struct Own {
  float* scores;      // [kv_heads, slices, kRows, kKeys]
  Word* p;            // the same
  float *rows, *row;  // widened keys or values [kStep, width], a query or result [width]

  Own(Pieces& pieces, const AttentionShape& s, const Sizes& sizes)
      : scores(pieces.Take<float>(s.kv_heads * sizes.slices * kRows * kKeys)), p(pieces.Take<Word>(s.kv_heads * sizes.slices * kRows * kKeys)),
        rows(pieces.Take<float>(kStep * s.width)), row(pieces.Take<float>(s.width)) {}
};

// Rows of a head as the kernels take them: as they lie, or widened.
struct Rows {
  const void* data;
  int64_t stride;
};
LFT_DISPATCH void Widen(const uint16_t* x, int64_t stride, float* wide, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++) {
#pragma omp simd
    for (int64_t j = 0; j < width; j++) {
      uint32_t bits = static_cast<uint32_t>(x[r * stride + j]) << 16;
      std::memcpy(wide + r * width + j, &bits, 4);
    }
  }
}
Rows AsRows(const char* x, int64_t stride, float* wide, int64_t rows, int64_t width, bool widen) {
  if (!widen) return {x, stride};
  Widen(reinterpret_cast<const uint16_t*>(x), stride, wide, rows, width);
  return {wide, width};
}

// All query heads against `count` keys, at most kKeys.
void AttendBlock(const TileKernels& kernels, const AttentionShape& s, const Sizes& sizes, const char* q, const char* k, const char* v,
                 int64_t count, const Own& own, Part* parts, float* mixed) {
  int64_t bytes = BytesOf(s.type), stride = s.kv_heads * s.width, slice = kRows * kKeys;
  Word* p = kernels.pack == 1 ? reinterpret_cast<Word*>(own.scores) : own.p;
  for (int64_t t = 0; t < count; t += kStep) {
    for (int64_t kv = 0; kv < s.kv_heads; kv++) {
      Rows keys = AsRows(k + (t * stride + kv * s.width) * bytes, stride, own.rows, std::min(kStep, count - t), s.width, sizes.widen);
      for (int64_t h = 0; h < sizes.group; h++) {
        Rows query = AsRows(q + (kv * sizes.group + h) * s.width * bytes, 0, own.row, 1, s.width, sizes.widen);
        kernels.dot(keys.data, keys.stride, query.data, 0, own.scores + (kv * sizes.slices * kRows + h) * kKeys + t, std::min(kStep, count - t),
                    s.width);
      }
    }
  }
  for (int64_t kv = 0; kv < s.kv_heads; kv++) {
    for (int64_t h = 0; h < sizes.group; h += kRows) {
      int64_t at = (kv * sizes.slices + h / kRows) * slice;
      RowState state;
      Range ranges[kRows] = {};
      std::fill_n(ranges, std::min(kRows, sizes.group - h), Range{0, count});
      kernels.softmax(own.scores + at, kKeys, ranges, s.scale * kLog2E, state, p + at / kernels.pack, kKeys / kernels.pack, CountPanels(count));
      for (int64_t r = 0; r < std::min(kRows, sizes.group - h); r++) parts[kv * sizes.group + h + r] = {state.maximum[r], state.sum[r]};
    }
  }
  for (int64_t t = 0; t < count; t += kStep) {
    for (int64_t kv = 0; kv < s.kv_heads; kv++) {
      Rows values = AsRows(v + (t * stride + kv * s.width) * bytes, stride, own.rows, std::min(kStep, count - t), s.width, sizes.widen);
      for (int64_t h = 0; h < sizes.group; h += kRows) {
        kernels.mix(p + ((kv * sizes.slices + h / kRows) * slice + t) / kernels.pack, kKeys / kernels.pack, values.data, values.stride,
                    mixed + (kv * sizes.group + h) * sizes.columns, sizes.columns, std::min(kRows, sizes.group - h), std::min(kStep, count - t),
                    s.width, t > 0);
      }
    }
  }
}

// Joins the blocks of a head, which lie `heads` apart.
void Join(const TileKernels& kernels, const Part* parts, float* mixed, int64_t heads, const Sizes& sizes, int64_t width, void* o, float* log_sum) {
  float maximum = parts[0].maximum, sum = 0;
  for (int64_t i = 1; i < sizes.blocks; i++) maximum = std::max(maximum, parts[i * heads].maximum);
  for (int64_t i = 0; i < sizes.blocks; i++) {
    float factor = std::exp2(parts[i * heads].maximum - maximum);
    sum += factor * parts[i * heads].sum;
    for (int64_t j = 0; j < width; j++) mixed[i * heads * sizes.columns + j] *= factor;
  }
  float inverse = 1.0f / sum;
  kernels.finish(mixed, sizes.columns, sizes.blocks, heads * sizes.columns, &inverse, o, width, 1, width);
  *log_sum = maximum * kLn2 + std::log(sum);
}

}  // namespace

void Decode(const void* q, const void* k, const void* v, void* o, float* log_sum, const AttentionShape& s) {
  const TileKernels* chosen = ChooseTileKernels(s.type, s.width);
  Sizes sizes(s, chosen);
  const TileKernels& kernels = sizes.widen ? *ChooseTileKernels(Type::kF32, s.width) : *chosen;
  Pieces shared_size, own_size;
  Shared(shared_size, s, sizes);
  Own(own_size, s, sizes);
  auto* memory = static_cast<char*>(Scratch(kTileSlot, shared_size.used() + omp_get_max_threads() * own_size.used()));
  Pieces pieces(memory);
  Shared shared(pieces, s, sizes);
  for (int64_t b = 0; b < s.batch; b++) VisibleKeys(s, b, shared.visible + b);
  auto own_of = [&](int thread) {
    Pieces place(memory + shared_size.used() + thread * own_size.used());
    return Own(place, s, sizes);
  };
  auto attend = [&](int64_t i, int thread) {
    int64_t b = i / sizes.blocks, block = i % sizes.blocks * kKeys;
    int64_t begin = std::max(block, shared.visible[b].begin), count = std::min(block + kKeys, s.keys) - begin;
    Part* parts = shared.parts + i * s.heads;
    float* mixed = shared.mixed + i * s.heads * sizes.columns;
    if (count > 0) {
      AttendBlock(kernels, s, sizes, RowOf(q, s, b, 0, 0, 1, s.heads), RowOf(k, s, b, begin, 0, s.keys, s.kv_heads),
                  RowOf(v, s, b, begin, 0, s.keys, s.kv_heads), count, own_of(thread), parts, mixed);
    } else {
      std::fill_n(parts, s.heads, Part{RowState().maximum[0], 0});
      std::fill_n(mixed, s.heads * sizes.columns, 0.0f);
    }
  };
  auto join = [&](int64_t i, int thread) {
    int64_t first = i / s.heads * sizes.blocks * s.heads + i % s.heads;
    float* row = own_of(thread).row;
    void* out = RowOf(o, s, 0, 0, i, 1, s.heads);
    Join(kernels, shared.parts + first, shared.mixed + first * sizes.columns, s.heads, sizes, s.width, sizes.widen ? row : out, log_sum + i);
    if (sizes.widen) ToBf16(row, static_cast<uint16_t*>(out), s.width);
  };
  int64_t items = s.batch * sizes.blocks, rows = s.batch * s.heads;
  if (s.batch * s.keys * s.kv_heads * s.width >= kSmall) {
    ShareOut(items, attend);
    ShareOut(rows, join);
  } else {
    for (int64_t i = 0; i < items; i++) attend(i, 0);
    for (int64_t i = 0; i < rows; i++) join(i, 0);
  }
}

}  // namespace lft
