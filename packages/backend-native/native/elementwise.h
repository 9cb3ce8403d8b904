#pragma once
#include <cstdint>

#include "values.h"

namespace lft {

enum class Unary { kNeg, kExp, kLog, kSqrt, kRsqrt, kSquare, kSigmoid, kTanh, kRelu, kAbs };
enum class Binary { kAdd, kSub, kMul, kDiv, kMaximum, kMinimum };

void Apply(Unary op, const float* x, float* y, int64_t count);

// out has the shape of the given rank; strides are in values, 0 along a broadcast axis.
void Apply(Binary op, const Values& a, const Values& b, const Values& out, const int64_t* shape, const int64_t* a_strides, const int64_t* b_strides,
           int rank);

enum class Reduction { kSum, kMean, kMax };
// x [outer, inner] to y [outer].
void Reduce(Reduction op, const float* x, float* y, int64_t outer, int64_t inner);

void Softmax(const float* x, float* y, int64_t rows, int64_t columns);

// out[...] = x[permuted]: copies 4-byte values. strides: of x, in the order of out's axes.
void Permute(const uint32_t* x, uint32_t* out, const int64_t* shape, const int64_t* strides, int rank);

}  // namespace lft
