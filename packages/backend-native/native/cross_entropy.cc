#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "bf16_units.h"
#include "fused.h"
#include "memory.h"
#include "vector_math.h"

namespace lft {
namespace {

// Exponentials that are kept for the weight's gradient at a time, in values: 64 MiB of bf16. Without it a block's are enough.
constexpr int64_t kKept = int64_t{32} << 20;
// Rows of h, and rows of the weight, that are multiplied at a time: their logits stay in the cache until they are exponentials.
constexpr int64_t kRows = 1024;
constexpr int64_t kBlock = 512;

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

// Σ e^(logit) of a row's blocks so far is total·e^max. So are their exponentials, and what was made of them, relative to max.
struct Row {
  float max;
  double total;
  float target;
};

// Turns one row's logits of a block into exponentials relative to the row's maximum so far.
// Gives the factor by which what was made of earlier blocks is to be multiplied.
float TakeBlock(const float* logits, int64_t n, const Values& out, int64_t at, Row& row) {
  float largest = Largest(logits, n), max = std::max(row.max, largest);
  double factor = row.max < max ? std::exp(static_cast<double>(row.max) - max) : 1, sum = 0;
  alignas(64) float buffer[kPart];
  for (int64_t j = 0; j < n; j += kPart) {
    int64_t count = std::min(kPart, n - j);
    float* to = Target(out, at + j, buffer);
    sum += Exponentials(logits + j, max, to, count);
    Write(out, at + j, count, to);
  }
  row.max = max;
  row.total = row.total * factor + sum;
  // A NaN among the logits is lost to the comparisons above: a block of nothing else has no maximum.
  if (!(largest > -std::numeric_limits<float>::infinity())) row.total = std::numeric_limits<double>::quiet_NaN();
  return static_cast<float>(factor);
}

// Row of `from` at `at`, times a factor, into the same place of `to`.
void ScaleRow(const Values& from, float factor, const Values& to, int64_t at, int64_t n) {
  alignas(64) float in[kPart], out[kPart];
  for (int64_t j = 0; j < n; j += kPart) {
    int64_t count = std::min(kPart, n - j);
    float* target = Target(to, at + j, out);
    Scaled(Read(from, at + j, count, in), factor, target, count);
    Write(to, at + j, count, target);
  }
}

// Gradient of the loss by the target's logit, p − 1, in full precision: what is left of it when p is near 1 is all that this row learns from.
float TargetGradient(const Row& row) { return static_cast<float>(std::exp(static_cast<double>(row.target) - row.max) / row.total - 1); }

// y = y·scale + x·factor
LFT_DISPATCH void Add(const float* x, float factor, float* y, float scale, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; j++) y[j] = y[j] * scale + x[j] * factor;
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
  bool differentiated = dh != nullptr, keeps = dw != nullptr;
  // The gradient's products round their operands anyway where one is bf16, but for those in f32; what is kept takes half the memory in bf16.
  bool rounds = (round || weight.type == Type::kBf16) && (keeps || HasFastBf16Units());
  Type type = rounds ? Type::kBf16 : Type::kF32;
  int64_t chunk = std::min(rows, kRows);
  if (keeps) chunk = std::max<int64_t>(1, std::min(chunk, kKept / (type == Type::kF32 ? 2 : 1) / vocabulary));
  auto* logits = static_cast<float*>(Scratch(2, chunk * std::max(kBlock, width) * sizeof(float)));
  Values exponentials{logits, Type::kF32};
  if (differentiated) exponentials = {Scratch(4, chunk * (keeps ? vocabulary : kBlock) * BytesOf(type)), type};
  // The row's maximum by which a block's exponentials are taken.
  std::vector<float> maxima(keeps ? chunk * blocks : 0);
  double loss = 0;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    int64_t count = std::min(chunk, rows - begin);
    const int32_t* ids = targets + begin;
    Matrix x{static_cast<char*>(h.data) + begin * width * BytesOf(h.type), h.type, count, width, width, 1};
    std::vector<Row> sums(count, Row{-std::numeric_limits<float>::infinity(), 0, 0});
    // A block is a dense matrix; those that are kept lie one after the other.
    auto at = [&](int64_t b) { return keeps ? b * kBlock * count : 0; };
    for (int64_t b = 0; b < blocks; b++) {
      int64_t first = b * kBlock, n = std::min(kBlock, vocabulary - first);
      Matrix part = RowsOf(weight, first, n);
      Matmul(x, part.Transposed(), {logits, Type::kF32}, false, round);
#pragma omp parallel for schedule(static)
      for (int64_t r = 0; r < count; r++) {
        const float* row = logits + r * n;
        bool here = first <= ids[r] && ids[r] < first + n;
        if (here) sums[r].target = row[ids[r] - first];
        float factor = TakeBlock(row, n, exponentials, at(b) + r * n, sums[r]);
        if (!differentiated) continue;
        if (b > 0 && factor != 1) Scaled(dh + (begin + r) * width, factor, dh + (begin + r) * width, width);
        if (here) Put(exponentials, at(b) + r * n + ids[r] - first, 0);
        if (keeps) maxima[r * blocks + b] = sums[r].max;
      }
      if (!differentiated) continue;
      Matrix taken{static_cast<char*>(exponentials.data) + at(b) * BytesOf(type), type, count, n, n, 1};
      Matmul(taken, part, {dh + begin * width, Type::kF32}, b > 0, round);
    }
    for (const Row& row : sums) loss += static_cast<double>(row.max) + std::log(row.total) - row.target;
    if (!differentiated) continue;
    // dh = Σ_v p_v·W_v − W_target
    Values words{const_cast<void*>(weight.data), weight.type};
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < count; r++) {
      std::vector<float> buffer(width);
      Add(Read(words, ids[r] * width, width, buffer.data()), TargetGradient(sums[r]), dh + (begin + r) * width, static_cast<float>(1 / sums[r].total), width);
    }
    if (!keeps) continue;
    // dW_v = Σ_n p_nv·h_n, with the factor that makes a block's exponentials probabilities at h. From the last block on, where a row's maximum
    // is its final one: few rows have another factor than in the block behind.
    Values scaled{logits, type == Type::kBf16 ? type : h.type}, hidden{const_cast<void*>(x.data), x.type};
    for (int64_t b = blocks - 1; b >= 0; b--) {
      int64_t first = b * kBlock, n = std::min(kBlock, vocabulary - first);
#pragma omp parallel for schedule(static)
      for (int64_t r = 0; r < count; r++) {
        float max = maxima[r * blocks + b];
        if (b + 1 < blocks && max == maxima[r * blocks + b + 1]) continue;
        ScaleRow(hidden, static_cast<float>(std::exp(static_cast<double>(max) - sums[r].max) / sums[r].total), scaled, r * width, width);
      }
      Matrix taken{static_cast<char*>(exponentials.data) + at(b) * BytesOf(type), type, count, n, n, 1};
      Matmul(taken.Transposed(), {scaled.data, scaled.type, count, width, width, 1}, {dw + first * width, Type::kF32}, begin > 0, round);
    }
    std::vector<float> buffer(width);
    for (int64_t r = 0; r < count; r++) Add(Read(hidden, r * width, width, buffer.data()), TargetGradient(sums[r]), dw + ids[r] * width, 1, width);
  }
  return loss;
}

}  // namespace lft
