#include <omp.h>

#include <algorithm>
#include <cstring>

#include "attention_tiles.h"
#include "memory.h"

// The gradient of attention in one pass (FlashAttention-2, Dao 2023, algorithm 2): blocks of keys against the queries that see them, with
// probabilities computed again from log_sum. Scores are transposed, [keys, queries], so that P and dS are left operands as they come, and
// dS alone is turned, for dQ.

namespace lft {
namespace {

// Keys in a block; queries in a tile.
constexpr int64_t kKeys = 64, kQueries = 256;
// Key-value heads from which on one thread takes all query heads of one.
constexpr int64_t kManyHeads = 32;

struct Tensors {
  const void *d_o, *q, *k, *v, *o;
  const float* log_sum;
  void *dq, *dk, *dv;
};

struct Sizes {
  int64_t depth, columns;          // words of a row; columns of a row in whole panels
  int64_t query_panel, key_panel;  // words of a panel that is summed over queries or keys
  int64_t queries;                 // in whole panels
  int64_t group, parts;            // query heads of a key-value head, and among how many items of work they are split

  Sizes(const AttentionShape& s, const TileKernels& kernels)
      : depth((s.width + kernels.pack - 1) / kernels.pack), columns(CountPanels(s.width) * kPanel),
        query_panel((s.queries + kernels.pack - 1) / kernels.pack * kPanel), key_panel((s.keys + kernels.pack - 1) / kernels.pack * kPanel),
        queries(CountPanels(s.queries) * kPanel), group(s.heads / s.kv_heads), parts(s.batch * s.kv_heads < kManyHeads ? group : 1) {}
};

struct Shared {
  Word* keys;               // of every key-value head, in panels summed over keys
  float *dk, *dv;           // [batch, kv_heads, parts, keys, columns]
  Range *visible, *seeing;  // [batch, queries], [batch, keys]

  Shared(Pieces& pieces, const AttentionShape& s, const Sizes& sizes)
      : keys(pieces.Take<Word>(s.batch * s.kv_heads * sizes.key_panel * sizes.columns / kPanel)),
        dk(pieces.Take<float>(s.batch * s.kv_heads * sizes.parts * s.keys * sizes.columns)),
        dv(pieces.Take<float>(s.batch * s.kv_heads * sizes.parts * s.keys * sizes.columns)), visible(pieces.Take<Range>(s.batch * s.queries)),
        seeing(pieces.Take<Range>(s.batch * s.keys)) {}
};

// What a thread keeps of the query head that it is at.
struct Head {
  Word *q_t, *d_o_t, *q, *d_o;       // panels summed over the width, and over queries
  float *dq, *log_sum, *delta;       // [queries, columns], [queries] in powers of 2, [queries] of dO·O
  float *scores, *dp;                // [kRows, kQueries], [kKeys, kQueries]
  Word *p, *ds, *ds_pairs, *turned;  // [kRows, kQueries], the same, [kKeys, kQueries], [kQueries, kKeys]

  Head(Pieces& pieces, const Sizes& sizes)
      : q_t(pieces.Take<Word>(sizes.queries * sizes.depth)), d_o_t(pieces.Take<Word>(sizes.queries * sizes.depth)),
        q(pieces.Take<Word>(sizes.query_panel * sizes.columns / kPanel)), d_o(pieces.Take<Word>(sizes.query_panel * sizes.columns / kPanel)),
        dq(pieces.Take<float>(sizes.queries * sizes.columns)), log_sum(pieces.Take<float>(sizes.queries)), delta(pieces.Take<float>(sizes.queries)),
        scores(pieces.Take<float>(kRows * kQueries)), dp(pieces.Take<float>(kKeys * kQueries)), p(pieces.Take<Word>(kRows * kQueries)),
        ds(pieces.Take<Word>(kRows * kQueries)), ds_pairs(pieces.Take<Word>(kKeys * kQueries)), turned(pieces.Take<Word>(kKeys * kQueries)) {}
};

void PackHead(const TileKernels& kernels, const AttentionShape& s, const Sizes& sizes, const Tensors& x, const Head& head, int64_t b, int64_t h) {
  int64_t stride = s.heads * s.width;
  const void *q = RowOf(x.q, s, b, 0, h, s.queries, s.heads), *d_o = RowOf(x.d_o, s, b, 0, h, s.queries, s.heads);
  PackTransposed(kernels, q, stride, head.q_t, s.queries, s.width);
  PackTransposed(kernels, d_o, stride, head.d_o_t, s.queries, s.width);
  kernels.pack_rows(q, stride, head.q, sizes.query_panel, s.queries, s.width);
  kernels.pack_rows(d_o, stride, head.d_o, sizes.query_panel, s.queries, s.width);
  kernels.dot(d_o, RowOf(x.o, s, b, 0, h, s.queries, s.heads), stride, head.delta, s.queries, s.width);
  const float* log_sum = x.log_sum + (b * s.heads + h) * s.queries;
  for (int64_t t = 0; t < s.queries; t++) head.log_sum[t] = log_sum[t] * kLog2E;
  for (int64_t t = s.queries; t < sizes.queries; t++) head.log_sum[t] = head.delta[t] = 0;
  std::memset(head.dq, 0, s.queries * sizes.columns * sizeof(float));
}

// Adds to dQ, dK and dV what the keys [first, last) of a head's block give with the queries from t on, at most kQueries.
void GradientTile(const TileKernels& kernels, const AttentionShape& s, const Sizes& sizes, const Head& head, const Range* visible,
                  const Range* seeing, const void* k, const void* v, const Word* keys, float* dk, float* dv, int64_t first, int64_t last, int64_t t) {
  int64_t pack = kernels.pack, stride = s.kv_heads * s.width, words = kQueries / pack;
  int64_t from = std::max(t, seeing[first].begin), to = std::min(t + kQueries, seeing[last - 1].end);
  if (from >= to) return;
  Word* ds_pairs = pack == 1 ? reinterpret_cast<Word*>(head.dp) : head.ds_pairs;
  for (int64_t row = first; row < last; row += kRows) {
    int64_t rows = std::min(kRows, last - row);
    int64_t begin = std::max(t, seeing[row].begin), end = std::min(t + kQueries, seeing[row + rows - 1].end);
    if (begin >= end) continue;
    int64_t panel = begin / kPanel * kPanel, panels = CountPanels(end - panel), offset = panel - t;
    float *scores = head.scores + offset, *dp = head.dp + offset + (pack == 1 ? (row - first) * kQueries : 0);
    Word* p = pack == 1 ? reinterpret_cast<Word*>(scores) : head.p + offset / pack;
    Word* ds = pack == 1 ? reinterpret_cast<Word*>(dp) : head.ds + offset / pack;
    int64_t at = (row - first) * stride / pack;
    kernels.product(static_cast<const Word*>(k) + at, stride / pack, head.q_t + panel * sizes.depth, sizes.depth * kPanel, scores, kQueries, rows,
                    sizes.depth, panels, false);
    kernels.product(static_cast<const Word*>(v) + at, stride / pack, head.d_o_t + panel * sizes.depth, sizes.depth * kPanel, dp, kQueries, rows,
                    sizes.depth, panels, false);
    Range ranges[kRows];
    for (int64_t r = 0; r < rows; r++) ranges[r] = {seeing[row + r].begin - panel, seeing[row + r].end - panel};
    kernels.gradient(scores, dp, kQueries, ranges, s.scale * kLog2E, head.log_sum + panel, head.delta + panel, p, ds, words,
                     ds_pairs + (row - first) / pack * kQueries + offset, kQueries, rows, panels);
    // Whole words from the first query that sees a key.
    int64_t word = begin / pack, depth = (end + pack - 1) / pack - word, skipped = word - panel / pack;
    kernels.product(p + skipped, words, head.d_o + word * kPanel, sizes.query_panel, dv + row * sizes.columns, sizes.columns, rows, depth,
                    sizes.columns / kPanel, true);
    kernels.product(ds + skipped, words, head.q + word * kPanel, sizes.query_panel, dk + row * sizes.columns, sizes.columns, rows, depth,
                    sizes.columns / kPanel, true);
  }
  int64_t panel = from / kPanel * kPanel - t, turned_stride = kKeys / pack;
  kernels.transpose(ds_pairs + panel, kQueries, head.turned + panel * turned_stride, turned_stride, (last - first + pack - 1) / pack, to - t - panel);
  for (int64_t row = from / kRows * kRows; row < to; row += kRows) {
    int64_t rows = std::min(kRows, s.queries - row);
    int64_t begin = std::max(first, visible[row].begin), end = std::min(last, visible[row + rows - 1].end);
    if (begin >= end) continue;
    int64_t word = begin / pack, depth = (end + pack - 1) / pack - word;
    kernels.product(head.turned + (row - t) * turned_stride + word - first / pack, turned_stride, keys + word * kPanel, sizes.key_panel,
                    head.dq + row * sizes.columns, sizes.columns, rows, depth, sizes.columns / kPanel, true);
  }
}

void GradientTiles(const TileKernels& kernels, const Tensors& x, const AttentionShape& s) {
  Sizes sizes(s, kernels);
  Pieces shared_size, head_size;
  Shared(shared_size, s, sizes);
  Head(head_size, sizes);
  auto* memory = static_cast<char*>(Scratch(kTileSlot, shared_size.used() + omp_get_max_threads() * head_size.used()));
  Pieces pieces(memory);
  Shared shared(pieces, s, sizes);
  for (int64_t b = 0; b < s.batch; b++) {
    VisibleKeys(s, b, shared.visible + b * s.queries);
    SeeingQueries(s, b, shared.seeing + b * s.keys);
  }
  int64_t kv_heads = s.batch * s.kv_heads, kv_stride = s.kv_heads * s.width, blocks = (s.keys + kKeys - 1) / kKeys;
  int64_t head_words = sizes.key_panel * sizes.columns / kPanel, head_values = s.keys * sizes.columns;
  float scales[kKeys];
  std::fill_n(scales, kKeys, s.scale);
  float ones[kKeys];
  std::fill_n(ones, kKeys, 1.0f);
#pragma omp parallel
  {
    Pieces own(memory + shared_size.used() + omp_get_thread_num() * head_size.used());
    Head head(own, sizes);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < kv_heads; i++) {
      const void* keys = RowOf(x.k, s, i / s.kv_heads, 0, i % s.kv_heads, s.keys, s.kv_heads);
      kernels.pack_rows(keys, kv_stride, shared.keys + i * head_words, sizes.key_panel, s.keys, s.width);
    }
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < kv_heads * sizes.parts; i++) {
      int64_t b = i / (s.kv_heads * sizes.parts), kv = i / sizes.parts % s.kv_heads, heads = sizes.group / sizes.parts;
      float *dk = shared.dk + i * head_values, *dv = shared.dv + i * head_values;
      std::memset(dk, 0, head_values * sizeof(float));
      std::memset(dv, 0, head_values * sizeof(float));
      for (int64_t h = kv * sizes.group + i % sizes.parts * heads, end = h + heads; h < end; h++) {
        PackHead(kernels, s, sizes, x, head, b, h);
        for (int64_t first = 0; first < s.keys; first += kKeys) {
          const void *k = RowOf(x.k, s, b, first, kv, s.keys, s.kv_heads), *v = RowOf(x.v, s, b, first, kv, s.keys, s.kv_heads);
          for (int64_t t = 0; t < s.queries; t += kQueries) {
            GradientTile(kernels, s, sizes, head, shared.visible + b * s.queries, shared.seeing + b * s.keys, k, v,
                         shared.keys + (b * s.kv_heads + kv) * head_words, dk, dv, first, std::min(s.keys, first + kKeys), t);
          }
        }
        for (int64_t t = 0; t < s.queries; t += kKeys) {
          kernels.finish(head.dq + t * sizes.columns, sizes.columns, 1, 0, scales, RowOf(x.dq, s, b, t, h, s.queries, s.heads), s.heads * s.width,
                         std::min(kKeys, s.queries - t), s.width);
        }
      }
    }
#pragma omp for schedule(static)
    for (int64_t i = 0; i < kv_heads * blocks; i++) {
      int64_t b = i / (s.kv_heads * blocks), kv = i / blocks % s.kv_heads, t = i % blocks * kKeys, rows = std::min(kKeys, s.keys - t);
      int64_t at = (i / blocks * sizes.parts * s.keys + t) * sizes.columns;
      kernels.finish(shared.dk + at, sizes.columns, sizes.parts, head_values, scales, RowOf(x.dk, s, b, t, kv, s.keys, s.kv_heads), kv_stride, rows, s.width);
      kernels.finish(shared.dv + at, sizes.columns, sizes.parts, head_values, ones, RowOf(x.dv, s, b, t, kv, s.keys, s.kv_heads), kv_stride, rows, s.width);
    }
  }
}

}  // namespace

void AttentionGradients(const void* d_o, const void* q, const void* k, const void* v, const void* o, const float* log_sum, void* dq, void* dk,
                        void* dv, const AttentionShape& s) {
  Tensors x{d_o, q, k, v, o, log_sum, dq, dk, dv};
  if (const TileKernels* kernels = ChooseTileKernels(s.type, s.width)) return GradientTiles(*kernels, x, s);
  int64_t n = s.batch * s.queries * s.heads * s.width, m = s.batch * s.keys * s.kv_heads * s.width;
  Pieces pieces(Scratch(kWidenedSlot, 4 * (n + m) * sizeof(float) + 9 * 64));
  AttentionShape shape = s;
  shape.type = Type::kF32;
  auto widened = [&](const void* from, int64_t count) {
    auto* wide = pieces.Take<float>(count);
    FromBf16(static_cast<const uint16_t*>(from), wide, count);
    return wide;
  };
  Tensors wide{widened(d_o, n), widened(q, n), widened(k, m), widened(v, m), widened(o, n), log_sum, pieces.Take<float>(n), pieces.Take<float>(m), pieces.Take<float>(m)};
  GradientTiles(*ChooseTileKernels(Type::kF32, s.width), wide, shape);
  ToBf16(static_cast<float*>(wide.dq), static_cast<uint16_t*>(dq), n);
  ToBf16(static_cast<float*>(wide.dk), static_cast<uint16_t*>(dk), m);
  ToBf16(static_cast<float*>(wide.dv), static_cast<uint16_t*>(dv), m);
}

}  // namespace lft
