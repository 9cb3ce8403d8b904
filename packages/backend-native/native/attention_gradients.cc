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
// Of a row of scores. Not a power of two, or rows fall on each other in the cache.
constexpr int64_t kScores = kQueries + kPanel;
// Key-value heads that are work enough for all threads. Not a matter of their number, that results do not depend on it.
constexpr int64_t kEnough = 6;

struct Tensors {
  const void *d_o, *q, *k, *v, *o;
  const float* log_sum;
  void *dq, *dk, *dv;
};

struct Sizes {
  int64_t depth, columns;          // words of a row; columns of a row in whole panels
  int64_t query_panel, key_panel;  // words of a panel that is summed over queries or keys
  int64_t queries;                 // in whole panels
  // Query heads of a key-value head, among how many items of work they are split, and all items. One item sums over its heads on the way.
  int64_t group, parts, items;

  Sizes(const AttentionShape& s, const TileKernels& kernels)
      : depth((s.width + kernels.pack - 1) / kernels.pack), columns(CountPanels(s.width) * kPanel),
        query_panel(WholeWords(kernels, s.queries) * kPanel), key_panel(WholeWords(kernels, s.keys) * kPanel),
        queries(CountPanels(s.queries) * kPanel), group(s.heads / s.kv_heads),
        parts(s.batch * s.kv_heads < kEnough ? group : 1), items(s.batch * s.kv_heads * parts) {}
};

struct Shared {
  Word* keys;               // of every key-value head, in panels summed over keys
  float *dk, *dv;           // [items, keys, columns], or a thread's in place of an item's where items have no parts
  Range *visible, *seeing;  // [batch, queries], [batch, keys]

  Shared(Pieces& pieces, const AttentionShape& s, const Sizes& sizes)
      : keys(pieces.Take<Word>(s.batch * s.kv_heads * sizes.key_panel * sizes.columns / kPanel)),
        dk(pieces.Take<float>(Buffers(sizes) * s.keys * sizes.columns)), dv(pieces.Take<float>(Buffers(sizes) * s.keys * sizes.columns)),
        visible(pieces.Take<Range>(s.batch * s.queries)), seeing(pieces.Take<Range>(s.batch * s.keys)) {}

  static int64_t Buffers(const Sizes& sizes) { return sizes.parts == 1 ? omp_get_max_threads() : sizes.items; }
};

// What a thread keeps of the query head that it is at.
struct Head {
  Word *q_t, *d_o_t, *q, *d_o;       // panels summed over the width, and over queries
  float *dq, *log_sum, *delta;       // [queries, columns], [queries] in powers of 2, [queries] of dO·O
  float *scores, *dp;                // [kMostRows, kScores], [kKeys, kScores]
  Word *p, *ds, *ds_pairs, *turned;  // [kMostRows, kScores], the same, [kKeys, kScores], [kQueries, kKeys]

  Head(Pieces& pieces, const Sizes& sizes)
      : q_t(pieces.Take<Word>(sizes.queries * sizes.depth)), d_o_t(pieces.Take<Word>(sizes.queries * sizes.depth)),
        q(pieces.Take<Word>(sizes.query_panel * sizes.columns / kPanel)), d_o(pieces.Take<Word>(sizes.query_panel * sizes.columns / kPanel)),
        dq(pieces.Take<float>(sizes.queries * sizes.columns)), log_sum(pieces.Take<float>(sizes.queries + kPanel)),
        delta(pieces.Take<float>(sizes.queries + kPanel)), scores(pieces.Take<float>(kMostRows * kScores + kPanel)),
        dp(pieces.Take<float>(kKeys * kScores + kPanel)), p(pieces.Take<Word>(kMostRows * kScores + kPanel)),
        ds(pieces.Take<Word>(kMostRows * kScores + kPanel)), ds_pairs(pieces.Take<Word>(kKeys * kScores + kPanel)),
        turned(pieces.Take<Word>(kKeys * kQueries)) {}
};

// What a thread works at: one or more query heads of a key-value head.
struct Item {
  const Range *visible, *seeing;
  const char *k, *v;  // rows of the head
  const Word* keys;   // packed
  float *dk, *dv;     // [keys, columns]
  Ahead<6> ahead;
};

void PackHead(const TileKernels& kernels, const AttentionShape& s, const Sizes& sizes, const Tensors& x, const Head& head, int64_t b, int64_t h) {
  int64_t stride = s.heads * s.width;
  for (int64_t t = 0; t < s.queries; t += kPair) {
    int64_t rows = std::min(kPair, s.queries - t), at = t / kernels.pack * kPanel;
    const char *q = RowOf(x.q, s, b, t, h, s.queries, s.heads), *d_o = RowOf(x.d_o, s, b, t, h, s.queries, s.heads);
    PackTransposed(kernels, q, stride, head.q_t + t * sizes.depth, rows, s.width);
    PackTransposed(kernels, d_o, stride, head.d_o_t + t * sizes.depth, rows, s.width);
    PackRows(kernels, q, stride, head.q + at, sizes.query_panel, rows, s.width);
    PackRows(kernels, d_o, stride, head.d_o + at, sizes.query_panel, rows, s.width);
    kernels.dot(d_o, stride, RowOf(x.o, s, b, t, h, s.queries, s.heads), stride, head.delta + t, rows, s.width);
  }
  const float* log_sum = x.log_sum + (b * s.heads + h) * s.queries;
  for (int64_t t = 0; t < s.queries; t++) head.log_sum[t] = log_sum[t] * kLog2E;
  for (int64_t t = s.queries; t < sizes.queries; t++) head.log_sum[t] = head.delta[t] = 0;
  std::memset(head.dq, 0, s.queries * sizes.columns * sizeof(float));
}

// Adds to dQ, dK and dV what keys [first, last), at most kKeys, give with the queries from t on, at most kQueries.
void GradientTile(const TileKernels& kernels, const AttentionShape& s, const Sizes& sizes, const Head& head, Item& item, int64_t first, int64_t last,
                  int64_t t) {
  int64_t pack = kernels.pack, stride = s.kv_heads * s.width, words = kScores / pack, few = kernels.rows / kRows + 1;
  int64_t from = std::max(t, item.seeing[first].begin), to = std::min(t + kQueries, item.seeing[last - 1].end);
  if (from >= to) return;
  Word* ds_pairs = pack == 1 ? reinterpret_cast<Word*>(head.dp) : head.ds_pairs;
  for (int64_t row = first; row < last; row += kernels.rows) {
    int64_t rows = std::min(kernels.rows, last - row);
    int64_t begin = std::max(t, item.seeing[row].begin), end = std::min(t + kQueries, item.seeing[row + rows - 1].end);
    if (begin >= end) continue;
    int64_t panel = begin / kPair * kPair, panels = CountPanels(end - panel), offset = panel - t;
    float *scores = head.scores + offset, *dp = head.dp + offset + (pack == 1 ? (row - first) * kScores : 0);
    Word* p = pack == 1 ? reinterpret_cast<Word*>(scores) : head.p + offset / pack;
    Word* ds = pack == 1 ? reinterpret_cast<Word*>(dp) : head.ds + offset / pack;
    int64_t at = row * stride * BytesOf(s.type);
    kernels.product(reinterpret_cast<const Word*>(item.k + at), stride / pack, head.q_t + panel * sizes.depth, sizes.depth * kPanel, scores, kScores,
                    rows, sizes.depth, panels, false);
    item.ahead.Step(few);
    kernels.product(reinterpret_cast<const Word*>(item.v + at), stride / pack, head.d_o_t + panel * sizes.depth, sizes.depth * kPanel, dp, kScores,
                    rows, sizes.depth, panels, false);
    item.ahead.Step(few);
    Range ranges[kMostRows] = {};
    for (int64_t r = 0; r < rows; r++) ranges[r] = {item.seeing[row + r].begin - panel, item.seeing[row + r].end - panel};
    kernels.gradient(scores, dp, kScores, ranges, s.scale * kLog2E, head.log_sum + panel, head.delta + panel, p, ds, words,
                     ds_pairs + (row - first) / pack * kScores + offset, kScores, rows, panels);
    item.ahead.Step(few);
    // P and dS are 0 for queries that do not see a key.
    int64_t depth = WholeWords(kernels, end - panel);
    kernels.product(p, words, head.d_o + panel / pack * kPanel, sizes.query_panel, item.dv + row * sizes.columns, sizes.columns, rows, depth,
                    sizes.columns / kPanel, true);
    item.ahead.Step(few);
    kernels.product(ds, words, head.q + panel / pack * kPanel, sizes.query_panel, item.dk + row * sizes.columns, sizes.columns, rows, depth,
                    sizes.columns / kPanel, true);
    item.ahead.Step(few);
  }
  int64_t panel = from / kPair * kPair - t, turned_stride = kKeys / pack;
  kernels.transpose(ds_pairs + panel, kScores, head.turned + panel * turned_stride, turned_stride, (last - first + pack - 1) / pack, to - t - panel);
  for (int64_t row = from / kernels.rows * kernels.rows; row < to; row += kernels.rows) {
    // No later query sees these keys, and nothing was turned for it.
    int64_t rows = std::min(kernels.rows, to - row);
    int64_t begin = std::max(first, item.visible[row].begin), end = std::min(last, item.visible[row + rows - 1].end);
    if (begin >= end) continue;
    // As many rows of keys as were taken together: all of them have their dS for these queries.
    begin -= (begin - first) % kernels.rows;
    end = std::min(last, first + (end - first + kernels.rows - 1) / kernels.rows * kernels.rows);
    int64_t word = begin / pack, depth = (end + pack - 1) / pack - word;
    kernels.product(head.turned + (row - t) * turned_stride + word - first / pack, turned_stride, item.keys + word * kPanel, sizes.key_panel,
                    head.dq + row * sizes.columns, sizes.columns, rows, depth, sizes.columns / kPanel, true);
    item.ahead.Step(few);
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
  int64_t kv_heads = s.batch * s.kv_heads, stride = s.heads * s.width, kv_stride = s.kv_heads * s.width, past = s.keys - s.queries;
  int64_t head_words = sizes.key_panel * sizes.columns / kPanel, head_values = s.keys * sizes.columns, blocks = (s.keys + kKeys - 1) / kKeys;
  float scales[kKeys], ones[kKeys];
  std::fill_n(scales, kKeys, s.scale);
  std::fill_n(ones, kKeys, 1.0f);
  Shares shares(sizes.items);
  // Keys from `first` on, at most kKeys, of what lies in the buffers of a head.
  auto finish_keys = [&](int64_t kv_head, int64_t buffer, int64_t first) {
    int64_t b = kv_head / s.kv_heads, kv = kv_head % s.kv_heads, rows = std::min(kKeys, s.keys - first);
    int64_t at = buffer * head_values + first * sizes.columns;
    kernels.finish(shared.dk + at, sizes.columns, sizes.parts, head_values, scales, RowOf(x.dk, s, b, first, kv, s.keys, s.kv_heads), kv_stride, rows,
                   s.width);
    kernels.finish(shared.dv + at, sizes.columns, sizes.parts, head_values, ones, RowOf(x.dv, s, b, first, kv, s.keys, s.kv_heads), kv_stride, rows,
                   s.width);
  };
#pragma omp parallel
  {
    Pieces own(memory + shared_size.used() + omp_get_thread_num() * head_size.used());
    Head head(own, sizes);
    ReadyForProducts ready(kernels);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < kv_heads; i++) {
      const char* keys = RowOf(x.k, s, i / s.kv_heads, 0, i % s.kv_heads, s.keys, s.kv_heads);
      PackRows(kernels, keys, kv_stride, shared.keys + i * head_words, sizes.key_panel, s.keys, s.width);
    }
    shares.Take([&](int64_t i, int64_t next_item) {
      int64_t kv_head = i / sizes.parts, b = kv_head / s.kv_heads, kv = kv_head % s.kv_heads, count = sizes.group / sizes.parts;
      int64_t buffer = sizes.parts == 1 ? omp_get_thread_num() : i;
      Item item{shared.visible + b * s.queries, shared.seeing + b * s.keys, RowOf(x.k, s, b, 0, kv, s.keys, s.kv_heads),
                RowOf(x.v, s, b, 0, kv, s.keys, s.kv_heads), shared.keys + kv_head * head_words, shared.dk + buffer * head_values,
                shared.dv + buffer * head_values, {}};
      std::memset(item.dk, 0, head_values * sizeof(float));
      std::memset(item.dv, 0, head_values * sizeof(float));
      // Query heads of the whole batch.
      for (int64_t h = i * count, end = h + count; h < end; h++) {
        PackHead(kernels, s, sizes, x, head, b, h % s.heads);
        int64_t next = h + 1 < end ? h + 1 : next_item * count, finished = 0;
        for (int64_t first = 0; first < s.keys; first += kKeys) {
          int64_t last = std::min(s.keys, first + kKeys), complete = std::max<int64_t>(last - past, 0), rows = complete - finished;
          char* dq = RowOf(x.dq, s, b, finished, h % s.heads, s.queries, s.heads);
          item.ahead.Write(0, s, dq, stride, rows);
          int stream = 1;
          for (const void* each : {x.q, x.d_o, x.o}) {
            item.ahead.Read(stream++, s, RowOf(each, s, next / s.heads, finished, next % s.heads, s.queries, s.heads), stride, rows);
          }
          for (void* each : {x.dk, x.dv}) {
            item.ahead.Write(stream++, s, RowOf(each, s, b, first, kv, s.keys, s.kv_heads), kv_stride, h + 1 == end ? last - first : 0);
          }
          for (int64_t t = 0; t < s.queries; t += kQueries) GradientTile(kernels, s, sizes, head, item, first, last, t);
          // No later key is seen by these queries.
          kernels.finish(head.dq + finished * sizes.columns, sizes.columns, 1, 0, scales, dq, stride, rows, s.width);
          finished = complete;
        }
      }
      if (sizes.parts == 1)
        for (int64_t first = 0; first < s.keys; first += kKeys) finish_keys(kv_head, buffer, first);
    });
    if (sizes.parts > 1) {
#pragma omp barrier
#pragma omp for schedule(static)
      for (int64_t i = 0; i < kv_heads * blocks; i++) finish_keys(i / blocks, i / blocks * sizes.parts, i % blocks * kKeys);
    }
  }
}

}  // namespace

void AttentionGradients(const void* d_o, const void* q, const void* k, const void* v, const void* o, const float* log_sum, void* dq, void* dk,
                        void* dv, const AttentionShape& s) {
  Tensors x{d_o, q, k, v, o, log_sum, dq, dk, dv};
  if (const TileKernels* kernels = KernelsFor(s)) return GradientTiles(*kernels, x, s);
  int64_t n = s.batch * s.queries * s.heads * s.width, m = s.batch * s.keys * s.kv_heads * s.width;
  Pieces pieces(Scratch(kWidenedSlot, 4 * (n + m) * sizeof(float) + 9 * 64));
  AttentionShape shape = s;
  shape.type = Type::kF32;
  auto widened = [&](const void* from, int64_t count) {
    auto* wide = pieces.Take<float>(count);
    FromBf16(static_cast<const uint16_t*>(from), wide, count);
    return wide;
  };
  Tensors wide{widened(d_o, n), widened(q, n), widened(k, m), widened(v, m), widened(o, n), log_sum,
               pieces.Take<float>(n), pieces.Take<float>(m), pieces.Take<float>(m)};
  GradientTiles(*ChooseTileKernels(Type::kF32, s.width), wide, shape);
  ToBf16(static_cast<float*>(wide.dq), static_cast<uint16_t*>(dq), n);
  ToBf16(static_cast<float*>(wide.dk), static_cast<uint16_t*>(dk), m);
  ToBf16(static_cast<float*>(wide.dv), static_cast<uint16_t*>(dv), m);
}

}  // namespace lft
