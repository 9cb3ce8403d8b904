#pragma once
#include <cstdint>

#include "values.h"

namespace lft {

// What attention does to its tiles. Operands of products are made of words: an f32, or two bf16 that are neighbours along the dimension that
// is summed over (the second one 0 past the end). The left operand lies in rows, the right one in panels of 16 columns: word (k, n) at
// [n / 16][k][n % 16], panels `panel_stride` words apart, 0 past the last column.
using Word = uint32_t;

constexpr int64_t kPanel = 16;
// Columns that are rounded to bf16 together: two panels, which are a panel's rows of words.
constexpr int64_t kPair = 2 * kPanel;
// Rows that a kernel takes at most; of products, where the kernels say so, four times as many.
constexpr int64_t kRows = 8, kMostRows = 32;

constexpr int64_t CountPanels(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// Columns [begin, end) of a row that are not masked; the others count as probability 0.
struct Range {
  int64_t begin, end;
};

// The softmax of rows whose scores come in parts; factor is what the last part multiplied the earlier ones by. Scores are taken times log2 e,
// so that e^x is 2^x.
struct RowState {
  float maximum[kRows], sum[kRows], factor[kRows];

  RowState() {
    for (int64_t r = 0; r < kRows; r++) maximum[r] = -1e30f, sum[r] = factor[r] = 0;
  }
};

struct TileKernels {
  Type type;
  // Values in a word, and rows of a left operand at a time.
  int64_t pack, rows;

  // Make a thread ready for products, and undo that; nullptr where it always is.
  void (*begin)();
  void (*end)();
  // c [rows, 16·panels] f32 = a [rows, depth]·b, or added to it.
  void (*product)(const Word* a, int64_t a_stride, const Word* b, int64_t panel_stride, float* c, int64_t c_stride, int64_t rows, int64_t depth,
                  int64_t panels, bool accumulate);
  // out [columns, rows], its rows filled with 0 up to a multiple of 16.
  void (*transpose)(const Word* x, int64_t x_stride, Word* out, int64_t out_stride, int64_t rows, int64_t columns);
  // Panels of x [rows, width], summed over rows.
  void (*pack_rows)(const void* x, int64_t x_stride, Word* panels, int64_t panel_stride, int64_t rows, int64_t width);
  // scores [kRows, 16·panels] times scale > 0 → 2^(score − maximum) as rows of words, for f32 in place of the scores. Ranges lie within the
  // panels; always kRows of them, empty ones for rows that are not there. What lies behind an odd number of panels is written as well.
  void (*softmax)(float* scores, int64_t stride, const Range* ranges, float scale, RowState& state, Word* p, int64_t p_stride, int64_t panels);
  // Scores and dP [rows of keys, 16·panels of queries] → P = 2^(scale·score − log_sum) and dS = P∘(dP − delta) as rows of words, for f32 in
  // place; and dS as panels summed over keys, which for f32 is left out. A range for each row. Rows and panels go in pairs: a row and a
  // panel behind an odd number are read and written as well.
  void (*gradient)(float* scores, float* dp, int64_t stride, const Range* ranges, float scale, const float* log_sum, const float* delta, Word* p,
                   Word* ds, int64_t word_stride, Word* ds_pairs, int64_t pairs_stride, int64_t rows, int64_t panels);
  // out[r] = factor[r]·Σ x[part][r] over parts.
  void (*finish)(const float* x, int64_t x_stride, int64_t parts, int64_t part_stride, const float* factor, void* out, int64_t out_stride,
                 int64_t rows, int64_t width);
  // out[r] = a[r]·b[r]; a stride of 0 takes the same row again.
  void (*dot)(const void* a, int64_t a_stride, const void* b, int64_t b_stride, float* out, int64_t rows, int64_t width);
  // c [rows, width in whole panels] = p·x, or added to it, with words of p [rows, depth / pack] and x [depth, width] as it lies. p is 0 behind
  // depth.
  void (*mix)(const Word* p, int64_t p_stride, const void* x, int64_t x_stride, float* c, int64_t c_stride, int64_t rows, int64_t depth,
              int64_t width, bool accumulate);
};

// The best kernels of this processor for operands of a type and heads of a width; nullptr where bf16 has to be widened first.
const TileKernels* ChooseTileKernels(Type type, int64_t width);

}  // namespace lft
