#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "fused.h"
#include "memory.h"
#include "vector_math.h"

namespace lft {
namespace {

// Probabilities that exist at a time, in values: 32 MiB of bf16.
constexpr int64_t kProbabilities = int64_t{16} << 20;
// Rows of the weight that are multiplied at a time: their logits stay in the cache until they are probabilities.
constexpr int64_t kBlock = 2048;

LFT_DISPATCH float Largest(const float* x, int64_t n) {
  float max = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : max)
  for (int64_t j = 0; j < n; j++) max = x[j] > max ? x[j] : max;
  return max;
}

// y = e^(x − max); gives the sum. May lie in place.
LFT_DISPATCH float Exponentials(const float* x, float max, float* y, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; j++) {
    float e = Exp(x[j] - max);
    y[j] = e;
    sum += e;
  }
  return sum;
}

LFT_DISPATCH void Scaled(const float* x, float factor, float* y, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; j++) y[j] = x[j] * factor;
}

// Σ e^(logit) of a row's blocks so far is total·e^max; every block's exponentials are relative to its own maximum.
struct Row {
  float max;
  double total;
  float target;
};

// Turns one row's logits of a block into exponentials, relative to the maximum that is given back.
float TakeBlock(const float* logits, int64_t n, const Values& out, int64_t at, Row& row) {
  float max = Largest(logits, n);
  double sum = 0;
  alignas(64) float buffer[kPart];
  for (int64_t j = 0; j < n; j += kPart) {
    int64_t count = std::min(kPart, n - j);
    float* to = Target(out, at + j, buffer);
    sum += Exponentials(logits + j, max, to, count);
    Write(out, at + j, count, to);
  }
  if (max > row.max) {
    row.total *= std::exp(static_cast<double>(row.max) - max);
    row.max = max;
  }
  row.total += sum * std::exp(static_cast<double>(max) - row.max);
  // A NaN among the logits is lost to the comparisons above: a block of nothing else has no maximum.
  if (!(max > -std::numeric_limits<float>::infinity())) row.total = std::numeric_limits<double>::quiet_NaN();
  return max;
}

void ScaleRow(const Values& from, int64_t from_at, float factor, const Values& to, int64_t to_at, int64_t n) {
  alignas(64) float in[kPart], out[kPart];
  for (int64_t j = 0; j < n; j += kPart) {
    int64_t count = std::min(kPart, n - j);
    float* target = Target(to, to_at + j, out);
    Scaled(Read(from, from_at + j, count, in), factor, target, count);
    Write(to, to_at + j, count, target);
  }
}

void Put(const Values& x, int64_t at, float value) {
  if (x.type == Type::kF32) static_cast<float*>(x.data)[at] = value;
  else ToBf16(&value, static_cast<uint16_t*>(x.data) + at, 1);
}

Matrix RowsOf(const Matrix& m, int64_t begin, int64_t count) {
  Matrix part = m;
  part.data = static_cast<const char*>(m.data) + begin * m.row_stride * BytesOf(m.type);
  part.rows = count;
  return part;
}

}  // namespace

double LinearCrossEntropy(const Values& h, const Matrix& weight, const int32_t* targets, float* dh, float* dw, int64_t rows, bool round) {
  int64_t vocabulary = weight.rows, width = weight.columns, blocks = (vocabulary + kBlock - 1) / kBlock;
  // The gradient's products round their operands anyway where one is bf16.
  Type type = round || weight.type == Type::kBf16 ? Type::kBf16 : Type::kF32;
  int64_t chunk = std::max<int64_t>(1, std::min(rows, kProbabilities / (type == Type::kF32 ? 2 : 1) / vocabulary));
  bool differentiated = dh != nullptr;
  auto* logits = static_cast<float*>(Scratch(2, chunk * kBlock * sizeof(float)));
  Values kept{Scratch(4, chunk * (differentiated ? vocabulary : kBlock) * BytesOf(type)), type};
  Values scaled{logits, type};
  std::vector<float> maxima(chunk * blocks);
  double loss = 0;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    int64_t count = std::min(chunk, rows - begin);
    const int32_t* ids = targets + begin;
    Matrix x{static_cast<char*>(h.data) + begin * width * BytesOf(h.type), h.type, count, width, width, 1};
    std::vector<Row> sums(count, Row{-std::numeric_limits<float>::infinity(), 0, 0});
    // Where block b of row r lies: block after block, so that each is a dense matrix.
    auto at = [&](int64_t b, int64_t r) { return differentiated ? b * kBlock * count + r * std::min(kBlock, vocabulary - b * kBlock) : r * kBlock; };
    for (int64_t b = 0; b < blocks; b++) {
      int64_t first = b * kBlock, n = std::min(kBlock, vocabulary - first);
      Matmul(x, RowsOf(weight, first, n).Transposed(), {logits, Type::kF32}, false, round);
#pragma omp parallel for schedule(static)
      for (int64_t r = 0; r < count; r++) {
        const float* row = logits + r * n;
        if (first <= ids[r] && ids[r] < first + n) sums[r].target = row[ids[r] - first];
        maxima[r * blocks + b] = TakeBlock(row, n, kept, at(b, r), sums[r]);
      }
    }
    for (const Row& row : sums) loss += static_cast<double>(row.max) + std::log(row.total) - row.target;
    if (!differentiated) continue;
    for (int64_t b = 0; b < blocks; b++) {
      int64_t first = b * kBlock, n = std::min(kBlock, vocabulary - first);
#pragma omp parallel for schedule(static)
      for (int64_t r = 0; r < count; r++) {
        const Row& row = sums[r];
        ScaleRow(kept, at(b, r), static_cast<float>(std::exp(static_cast<double>(maxima[r * blocks + b]) - row.max) / row.total), scaled, r * n, n);
        // p − 1 of the target in full precision: what is left of it when p is near 1 is all that this row learns from.
        if (first <= ids[r] && ids[r] < first + n) {
          Put(scaled, r * n + ids[r] - first, static_cast<float>(std::exp(static_cast<double>(row.target) - row.max) / row.total - 1));
        }
      }
      Matrix gradient{scaled.data, type, count, n, n, 1}, part = RowsOf(weight, first, n);
      Matmul(gradient, part, {dh + begin * width, Type::kF32}, b > 0, round);
      if (dw != nullptr) Matmul(gradient.Transposed(), x, {dw + first * width, Type::kF32}, begin > 0, round);
    }
  }
  return loss;
}

}  // namespace lft
