#include "attention_tiles.h"

#include <algorithm>
#include <cstring>

namespace lft {

void VisibleKeys(const AttentionShape& s, int64_t batch, Range* keys) {
  const int32_t* segments = s.segments == nullptr ? nullptr : s.segments + batch * s.keys;
  int64_t past = s.keys - s.queries, begin = 0;
  for (int64_t position = segments == nullptr ? past : 0; position < s.keys; position++) {
    if (segments != nullptr && position > 0 && segments[position] != segments[position - 1]) begin = position;
    if (position >= past) keys[position - past] = {begin, position + 1};
  }
}

void SeeingQueries(const AttentionShape& s, int64_t batch, Range* queries) {
  const int32_t* segments = s.segments == nullptr ? nullptr : s.segments + batch * s.keys;
  int64_t past = s.keys - s.queries, end = s.keys;
  for (int64_t position = s.keys - 1; position >= 0; position--) {
    if (segments != nullptr && position + 1 < s.keys && segments[position] != segments[position + 1]) end = position + 1;
    int64_t first = std::max<int64_t>(position - past, 0);
    queries[position] = {first, std::max(first, end - past)};
  }
}

void PackTransposed(const TileKernels& kernels, const void* x, int64_t stride, Word* panels, int64_t rows, int64_t width) {
  int64_t depth = (width + kernels.pack - 1) / kernels.pack, words = stride / kernels.pack;
  for (int64_t t = 0; t < rows; t += kPanel) {
    kernels.transpose(static_cast<const Word*>(x) + t * words, words, panels + t * depth, kPanel, std::min(kPanel, rows - t), depth);
  }
}

void PackRows(const TileKernels& kernels, const void* x, int64_t stride, Word* panels, int64_t panel_stride, int64_t rows, int64_t width) {
  kernels.pack_rows(x, stride, panels, panel_stride, rows, width);
  int64_t packed = (rows + kernels.pack - 1) / kernels.pack, whole = WholeWords(kernels, rows);
  for (int64_t panel = 0; panel < CountPanels(width); panel++) {
    std::memset(panels + panel * panel_stride + packed * kPanel, 0, (whole - packed) * kPanel * sizeof(Word));
  }
}

}  // namespace lft
