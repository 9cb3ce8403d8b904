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

// Logits that exist at a time, in values: 32 MiB.
constexpr int64_t kLogits = int64_t{8} << 20;

LFT_DISPATCH float Largest(const float* x, int64_t n) {
  float max = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : max)
  for (int64_t j = 0; j < n; j++) max = x[j] > max ? x[j] : max;
  return max;
}

LFT_DISPATCH float ExpSum(const float* x, float max, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; j++) sum += Exp(x[j] - max);
  return sum;
}

LFT_DISPATCH void Probabilities(const float* x, float max, float inverse, float* y, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; j++) y[j] = Exp(x[j] - max) * inverse;
}

struct LogSum {
  float max;
  double total;
};

// max and Σ e^(x − max) in one pass over memory: a part's terms are rescaled when a later part has a larger maximum.
LogSum LogSumOf(const float* logits, int64_t n) {
  LogSum sum{-std::numeric_limits<float>::infinity(), 0};
  for (int64_t begin = 0; begin < n; begin += kPart) {
    int64_t count = std::min(kPart, n - begin);
    float max = std::max(sum.max, Largest(logits + begin, count));
    if (max > sum.max) sum.total *= std::exp(static_cast<double>(sum.max) - max);
    sum.max = max;
    sum.total += ExpSum(logits + begin, max, count);
  }
  return sum;
}

// d = softmax(logits) minus the target's one; may lie in place of the logits.
void SoftmaxMinusTarget(const float* logits, const LogSum& sum, int32_t target, int64_t n, const Values& d, int64_t at) {
  float inverse = static_cast<float>(1 / sum.total);
  alignas(64) float buffer[kPart];
  for (int64_t begin = 0; begin < n; begin += kPart) {
    int64_t count = std::min(kPart, n - begin);
    float* to = Target(d, at + begin, buffer);
    Probabilities(logits + begin, sum.max, inverse, to, count);
    if (begin <= target && target < begin + count) to[target - begin] -= 1.0f;
    Write(d, at + begin, count, to);
  }
}

}  // namespace

double LinearCrossEntropy(const Values& h, const Matrix& weight, const int32_t* targets, float* dh, float* dw, int64_t rows, bool round) {
  int64_t vocabulary = weight.rows, width = weight.columns;
  int64_t chunk = std::max<int64_t>(1, std::min(rows, kLogits / vocabulary));
  auto* logits = static_cast<float*>(Scratch(2, chunk * vocabulary * sizeof(float)));
  // The gradient's products round their operands anyway where one is bf16.
  bool bf16 = round || weight.type == Type::kBf16;
  Values d{logits, Type::kF32};
  if (bf16 && dh != nullptr) d = {Scratch(4, chunk * vocabulary * 2), Type::kBf16};
  std::vector<double> losses(rows);
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    int64_t count = std::min(chunk, rows - begin);
    Matrix x{static_cast<char*>(h.data) + begin * width * BytesOf(h.type), h.type, count, width, width, 1};
    Matmul(x, weight.Transposed(), {logits, Type::kF32}, false, round);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < count; r++) {
      const float* row = logits + r * vocabulary;
      LogSum sum = LogSumOf(row, vocabulary);
      // A NaN among the logits is lost to the comparisons, but not to the sum.
      losses[begin + r] = static_cast<double>(sum.max) + std::log(sum.total) - row[targets[begin + r]];
      if (dh != nullptr) SoftmaxMinusTarget(row, sum, targets[begin + r], vocabulary, d, r * vocabulary);
    }
    if (dh == nullptr) continue;
    Matrix gradient{d.data, d.type, count, vocabulary, vocabulary, 1};
    Matmul(gradient, weight, {dh + begin * width, Type::kF32}, false, round);
    if (dw != nullptr) Matmul(gradient.Transposed(), x, {dw, Type::kF32}, begin > 0, round);
  }
  double total = 0;
  for (double loss : losses) total += loss;
  return total;
}

}  // namespace lft
