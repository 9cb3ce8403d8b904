#pragma once
#include "low_rank.h"
#include "tile_kernels.h"

namespace lft {

// Rows of a block; in whole words of pairs, and whole tiles of the matrix units.
constexpr int64_t kLowRankBlock = 64;

// What LoRA does to a block of rows in bf16, with factors W [rank, width] that are packed beforehand. The widths are in whole words of pairs.
struct LowRankKernels {
  // Of the panel for `narrow`: a place has two words of a row of W, and there are 8 rows.
  bool halves;
  // sums [rows, 16] f32 = x [rows, width]·Wᵀ for a panel of 16 rows of W, words summed over the width.
  void (*narrow)(const uint16_t* x, int64_t rows, int64_t width, const Word* panel, float* sums, int64_t stride);
  // y [rows, width] = low·W, or added to it; low in rows of words, W in panels of `pairs` words summed over the rank, an even number of them.
  void (*wide)(const Word* low, int64_t stride, int64_t rows, const Word* panels, int64_t pairs, uint16_t* y, int64_t width, bool add);
  // sums [rank, width in whole panels] f32 = low·x, or added to it, for low [rank, kLowRankBlock] and x [rows, width].
  void (*sum)(const uint16_t* low, int64_t rank, const uint16_t* x, int64_t rows, int64_t width, float* sums, bool add);
};

// Largest rank of these kernels.
constexpr int64_t kLargestLowRank = 32;

// The best kernels of this processor; nullptr where it has no units for bf16, or the product is better left to oneDNN.
const LowRankKernels* ChooseLowRankKernels(const LowRankShape& shape);

// Those of AVX-512's units, and of the matrix units; nullptr where the processor lacks them.
const LowRankKernels* Avx512LowRankKernels(int64_t rank);
const LowRankKernels* AmxLowRankKernels();

}  // namespace lft
