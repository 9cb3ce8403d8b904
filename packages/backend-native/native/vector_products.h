#pragma once
#include <cstdint>
#include <initializer_list>

#include "quantised.h"

namespace lft {

// Products y [count, rows] = x·Wᵀ with few rows of x, as generation asks for: W is read once, at the speed of memory. x is not rounded, and
// sums are f32. On processors with the units for it, x beside int8 has 30 bits below its largest value and sums are exact, and the levels of
// nf4 beside an x in bf16 are rounded to it, as they are in a matrix that is unpacked.

// More rows than this are faster as a product of matrices.
constexpr int64_t kFewRows = 4;

// A frozen matrix [rows, columns] as it is held: scales are a row's for int8, a block's for nf4.
struct FrozenMatrix {
  enum class Format { kF32, kBf16, kInt8, kNf4 };

  const void* data;
  const float* scales;
  Format format;
  int64_t rows, columns;
};

// nf4 is for rows of whole blocks, on processors with AVX-512.
bool TakesVectorProduct(const FrozenMatrix& w);

struct VectorProduct {
  FrozenMatrix w;
  Values y;
};
// Several products with the same x, of matrices in one format: one piece of work for the threads.
void VectorProducts(const Values& x, int64_t count, std::initializer_list<VectorProduct> products);

}  // namespace lft
