#pragma once
#include <cstdint>

#include "values.h"

namespace lft {

// A matrix in memory: element (i, j) lies at data[i * row_stride + j * column_stride].
struct Matrix {
  const void* data;
  Type type;
  int64_t rows, columns;
  int64_t row_stride, column_stride;

  Matrix Transposed() const { return {data, type, columns, rows, column_stride, row_stride}; }
};

// c = a·b (+ c with accumulate), c [rows, columns] row-major, f32 or bf16; sums are f32. Products of two bf16 matrices run on the bf16 units; an f32 operand
// beside a bf16 one is rounded to bf16 first.
// round: two f32 matrices are rounded to bf16 too.
// Without fast units (HasFastBf16Units) bf16 operands are widened and multiplied in f32 instead, and nothing is rounded.
// Throws std::runtime_error when oneDNN has only its reference implementation for the shape.
void Matmul(const Matrix& a, const Matrix& b, const Values& c, bool accumulate, bool round = false);

}  // namespace lft
