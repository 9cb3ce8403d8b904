#pragma once
#include <cstdint>

#include "quantised.h"

namespace lft {

// Products y [count, rows] = x·Wᵀ with few rows of x, as generation asks for: W is read once, at the speed of memory. x is not rounded, and
// sums are f32.

// More rows than this are faster as a product of matrices.
constexpr int64_t kFewRows = 4;

// W [rows, columns] in f32 or bf16.
void VectorProduct(const Values& x, const Values& w, const Values& y, int64_t count, int64_t rows, int64_t columns);

void VectorProduct(const Values& x, const Int8Matrix& w, const Values& y, int64_t count);

// For rows of whole blocks, on processors with AVX-512; false elsewhere.
bool VectorProduct(const Values& x, const Nf4Matrix& w, const Values& y, int64_t count);

}  // namespace lft
