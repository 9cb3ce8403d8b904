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

// logits [n] → probabilities minus the target's one. Gives −log p[target].
LFT_DISPATCH double SoftmaxMinusTarget(float* logits, int64_t n, int32_t target) {
  float max = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : max)
  for (int64_t j = 0; j < n; j++) max = logits[j] > max ? logits[j] : max;
  float own = logits[target];
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += 4096) {
    int64_t end = std::min(n, begin + 4096);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = begin; j < end; j++) {
      float e = Exp(logits[j] - max);
      logits[j] = e;
      sum += e;
    }
    total += sum;
  }
  float inverse = static_cast<float>(1 / total);
#pragma omp simd
  for (int64_t j = 0; j < n; j++) logits[j] *= inverse;
  logits[target] -= 1.0f;
  // A NaN among the logits is lost to the comparisons above, but not to this sum.
  return static_cast<double>(max) + std::log(total) - own;
}

}  // namespace

double LinearCrossEntropy(const float* h, const Matrix& weight, const int32_t* targets, float* dh, float* dw, int64_t rows, bool round) {
  int64_t vocabulary = weight.rows, width = weight.columns;
  int64_t chunk = std::max<int64_t>(1, std::min(rows, kLogits / vocabulary));
  auto* logits = static_cast<float*>(Scratch(2, chunk * vocabulary * sizeof(float)));
  std::vector<double> losses(rows);
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    int64_t count = std::min(chunk, rows - begin);
    Matrix x{h + begin * width, Type::kF32, count, width, width, 1};
    Matmul(x, weight.Transposed(), logits, false, round);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < count; r++) losses[begin + r] = SoftmaxMinusTarget(logits + r * vocabulary, vocabulary, targets[begin + r]);
    Matrix d{logits, Type::kF32, count, vocabulary, vocabulary, 1};
    if (dh != nullptr) Matmul(d, weight, dh + begin * width, false, round);
    if (dw != nullptr) Matmul(d.Transposed(), x, dw, begin > 0, round);
  }
  double total = 0;
  for (double loss : losses) total += loss;
  return total;
}

}  // namespace lft
