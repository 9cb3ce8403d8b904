#pragma once
#include "vector_products.h"

namespace lft {

// Vector products on the units of AVX-512 that multiply bf16 pairs and int16 pairs: a fraction of the instructions, which is what int8 and
// nf4 wait for. Rows of x are put in the order and the numbers that the units take.
struct UnitRows {
  const void* data;
  int64_t stride;  // in values
  float scales[kFewRows];
};

// Whether the processor has them for this format beside such x: bf16 and nf4 are multiplied with x as it is, in bf16; int8 with x in 30 bits.
bool HasUnitProducts(FrozenMatrix::Format format, Type x);

UnitRows ArrangeForUnits(FrozenMatrix::Format format, const Values& x, int64_t count, int64_t columns);

// out[m * stride + r] = x[m]·w[begin + r] for r < rows.
void UnitProducts(const UnitRows& x, int64_t count, const FrozenMatrix& w, int64_t begin, int64_t rows, float* out, int64_t stride);

}  // namespace lft
