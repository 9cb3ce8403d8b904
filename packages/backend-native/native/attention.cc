#include <omp.h>

#include <algorithm>
#include <cmath>

#include "attention_decode.h"
#include "attention_tiles.h"
#include "memory.h"

// Attention as in FlashAttention-2 (Dao 2023, algorithm 1): tiles of queries of a head against blocks of the keys that they see, a few rows at
// a time, so that keys stay in the second cache and scores in the first.

namespace lft {
namespace {

// Keys in a block; queries in an item of a thread's work.
constexpr int64_t kKeys = 512, kQueries = 64;
// Of a row of scores. Not a power of two, or rows fall on each other in the cache.
constexpr int64_t kScores = kKeys + kPanel;

struct Sizes {
  int64_t depth, columns;  // words of a row; columns of a row in whole panels
  int64_t keys_t, values;  // words of a head's packed keys and values
  int64_t value_panel;     // words of a panel that is summed over keys

  Sizes(const AttentionShape& s, const TileKernels& kernels)
      : depth((s.width + kernels.pack - 1) / kernels.pack), columns(CountPanels(s.width) * kPanel), keys_t(CountPanels(s.keys) * kPanel * depth),
        values(WholeWords(kernels, s.keys) * columns), value_panel(values / CountPanels(s.width)) {}
};

// What all threads read.
struct Packed {
  Word *keys_t, *values;  // of every key-value head, in panels summed over the width and over keys
  Range* visible;         // [batch, queries]

  Packed(Pieces& pieces, const AttentionShape& s, const Sizes& sizes)
      : keys_t(pieces.Take<Word>(s.batch * s.kv_heads * sizes.keys_t)), values(pieces.Take<Word>(s.batch * s.kv_heads * sizes.values)),
        visible(pieces.Take<Range>(s.batch * s.queries)) {}
};

// What a thread writes: rows of a tile, and scores of a few of them.
struct Tile {
  RowState* states;       // [kQueries / kRows]
  float *mixed, *scores;  // [kQueries, columns], [kMostRows, kScores]
  Word* p;

  Tile(Pieces& pieces, const Sizes& sizes)
      : states(pieces.Take<RowState>(kQueries / kRows)), mixed(pieces.Take<float>(kQueries * sizes.columns)),
        scores(pieces.Take<float>(kMostRows * kScores)), p(pieces.Take<Word>(kMostRows * kScores)) {}
};

// What keys from `block` on, at most kKeys, give to rows of queries, whose states are `states`.
void AttendRows(const TileKernels& kernels, const AttentionShape& s, const Sizes& sizes, const Tile& tile, RowState* states, float* mixed,
                const char* q, const Word* keys_t, const Word* values, const Range* visible, int64_t rows, int64_t block, Ahead<2>& ahead) {
  int64_t first = visible[0].begin / kPair * kPair, begin = std::max(block, first), end = std::min(block + kKeys, visible[rows - 1].end);
  if (begin >= end) return;
  int64_t count = end - begin, panels = CountPanels(count), words = kScores / kernels.pack, few = kernels.rows / kRows + 2;
  Word* p = kernels.pack == 1 ? reinterpret_cast<Word*>(tile.scores) : tile.p;
  kernels.product(reinterpret_cast<const Word*>(q), s.heads * s.width / kernels.pack, keys_t + begin * sizes.depth, sizes.depth * kPanel,
                  tile.scores, kScores, rows, sizes.depth, panels, false);
  ahead.Step(few);
  for (int64_t part = 0; part < rows; part += kRows) {
    RowState& state = states[part / kRows];
    if (begin == first) state = RowState();
    Range ranges[kRows] = {};
    for (int64_t r = part; r < std::min(rows, part + kRows); r++) {
      ranges[r - part] = {std::clamp<int64_t>(visible[r].begin - begin, 0, count), std::clamp<int64_t>(visible[r].end - begin, 0, count)};
    }
    kernels.softmax(tile.scores + part * kScores, kScores, ranges, s.scale * kLog2E, state, p + part * words, words, panels);
    ahead.Step(few);
    if (begin == first) continue;
    for (int64_t r = part; r < std::min(rows, part + kRows); r++)
      for (int64_t j = 0; j < sizes.columns; j++) mixed[r * sizes.columns + j] *= state.factor[r - part];
  }
  // P is 0 for keys behind `end`.
  kernels.product(p, words, values + begin / kernels.pack * kPanel, sizes.value_panel, mixed, sizes.columns, rows, WholeWords(kernels, count),
                  sizes.columns / kPanel, begin > first);
  ahead.Step(few);
}

// Queries [t, last) of a head of a row of the batch.
struct Queries {
  int64_t b, h, t, last;
};

// `next` are likely the queries after these.
void AttendTile(const TileKernels& kernels, const AttentionShape& s, const Sizes& sizes, const Packed& packed, const Tile& tile,
                const void* q, void* o, float* log_sum, const Queries& queries, const Queries& next) {
  const auto [b, h, t, last] = queries;
  int64_t stride = s.heads * s.width, kv = b * s.kv_heads + h / (s.heads / s.kv_heads);
  const Word *keys_t = packed.keys_t + kv * sizes.keys_t, *values = packed.values + kv * sizes.values;
  const Range* visible = packed.visible + b * s.queries;
  Ahead<2> ahead;
  for (int64_t block = visible[t].begin / kPair * kPair; block < visible[last - 1].end; block += kKeys) {
    for (int64_t row = t; row < last; row += kernels.rows) {
      ahead.Write(0, s, RowOf(o, s, b, row, h, s.queries, s.heads), stride, kernels.rows);
      bool more = row + kernels.rows < last;
      ahead.Read(1, s, more ? RowOf(q, s, b, row + kernels.rows, h, s.queries, s.heads) : RowOf(q, s, next.b, next.t, next.h, s.queries, s.heads),
                 stride, kernels.rows);
      AttendRows(kernels, s, sizes, tile, tile.states + (row - t) / kRows, tile.mixed + (row - t) * sizes.columns,
                 RowOf(q, s, b, row, h, s.queries, s.heads), keys_t, values, visible + row, std::min(kernels.rows, last - row), block, ahead);
    }
  }
  float inverse[kQueries];
  for (int64_t r = 0; r < last - t; r++) {
    const RowState& state = tile.states[r / kRows];
    inverse[r] = 1.0f / state.sum[r % kRows];
    log_sum[(b * s.heads + h) * s.queries + t + r] = state.maximum[r % kRows] * kLn2 + std::log(state.sum[r % kRows]);
  }
  kernels.finish(tile.mixed, sizes.columns, 1, 0, inverse, RowOf(o, s, b, t, h, s.queries, s.heads), stride, last - t, s.width);
}

void AttendTiles(const TileKernels& kernels, const void* q, const void* k, const void* v, void* o, float* log_sum, const AttentionShape& s) {
  Sizes sizes(s, kernels);
  Pieces packed_size, tile_size;
  Packed(packed_size, s, sizes);
  Tile(tile_size, sizes);
  auto* memory = static_cast<char*>(Scratch(kTileSlot, packed_size.used() + omp_get_max_threads() * tile_size.used()));
  Pieces pieces(memory);
  Packed packed(pieces, s, sizes);
  for (int64_t b = 0; b < s.batch; b++) VisibleKeys(s, b, packed.visible + b * s.queries);
  int64_t group = s.heads / s.kv_heads, tiles = (s.queries + kQueries - 1) / kQueries;
  Shares shares(s.batch * s.heads * tiles);
#pragma omp parallel
  {
    Pieces own(memory + packed_size.used() + omp_get_thread_num() * tile_size.used());
    Tile tile(own, sizes);
    ReadyForProducts ready(kernels);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < s.batch * s.kv_heads; i++) {
      int64_t b = i / s.kv_heads, kv = i % s.kv_heads, stride = s.kv_heads * s.width;
      PackTransposed(kernels, RowOf(k, s, b, 0, kv, s.keys, s.kv_heads), stride, packed.keys_t + i * sizes.keys_t, s.keys, s.width);
      PackRows(kernels, RowOf(v, s, b, 0, kv, s.keys, s.kv_heads), stride, packed.values + i * sizes.values, sizes.value_panel, s.keys, s.width);
    }
    // Heads that share keys go together. Late queries see the most keys and go first, so that the threads end together.
    auto queries_of = [&](int64_t i) {
      int64_t head = i / (group * tiles) * group + i % group, t = (tiles - 1 - i / group % tiles) * kQueries;
      return Queries{head / s.heads, head % s.heads, t, std::min(s.queries, t + kQueries)};
    };
    shares.Take([&](int64_t i, int64_t next) { AttendTile(kernels, s, sizes, packed, tile, q, o, log_sum, queries_of(i), queries_of(next)); });
  }
}

}  // namespace

void Attention(const void* q, const void* k, const void* v, void* o, float* log_sum, const AttentionShape& s) {
  if (s.queries == 1) return Decode(q, k, v, o, log_sum, s);
  if (const TileKernels* kernels = KernelsFor(s)) return AttendTiles(*kernels, q, k, v, o, log_sum, s);
  int64_t n = s.batch * s.queries * s.heads * s.width, m = s.batch * s.keys * s.kv_heads * s.width;
  auto* wide_q = static_cast<float*>(Scratch(kWidenedSlot, (2 * n + 2 * m) * sizeof(float)));
  float *wide_k = wide_q + n, *wide_v = wide_k + m, *wide_o = wide_v + m;
  FromBf16(static_cast<const uint16_t*>(q), wide_q, n);
  FromBf16(static_cast<const uint16_t*>(k), wide_k, m);
  FromBf16(static_cast<const uint16_t*>(v), wide_v, m);
  AttentionShape wide = s;
  wide.type = Type::kF32;
  Attention(wide_q, wide_k, wide_v, wide_o, log_sum, wide);
  ToBf16(wide_o, static_cast<uint16_t*>(o), n);
}

}  // namespace lft
