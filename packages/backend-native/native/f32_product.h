#pragma once
#include "matmul.h"

namespace lft {

// c = a·b (+ c with accumulate), multiplied and summed in f32, with a and b as they lie: bf16 values are widened as they are copied to where they
// are multiplied. Where both are f32, oneDNN is as fast.
// False where it is not done: without AVX-512, or for a few rows or columns.
bool F32Product(const Matrix& a, const Matrix& b, const Values& c, bool accumulate);

}  // namespace lft
