#pragma once
#include <cstdint>

#include "matmul.h"

namespace lft {

// y [rows, width] = x·inverse∘weight, inverse [rows] = 1/sqrt(mean(x²) + epsilon).
void RmsNorm(const Values& x, const float* weight, float epsilon, const Values& y, float* inverse, int64_t rows, int64_t width);
// dx = inverse·(g − x̂·mean(g∘x̂)) with g = dy∘weight, or added to it.
void RmsNormInputGradient(const Values& dy, const Values& x, const float* weight, const float* inverse, const Values& dx, int64_t rows,
                          int64_t width, bool adds);

// dw = Σ dy∘x·inverse over the rows.
void RmsNormWeightGradient(const Values& dy, const Values& x, const float* inverse, float* dw, int64_t rows, int64_t width);

// Rotates the halves of every head: x [rows, heads, width], cos and sin [rows, width]. direction −1 is the gradient.
void Rotary(const Values& x, const float* cos, const float* sin, const Values& y, int64_t rows, int64_t heads, int64_t width,
            float direction);

void Swiglu(const Values& gate, const Values& up, const Values& y, int64_t count);
void SwigluGradients(const Values& dy, const Values& gate, const Values& up, const Values& dgate, const Values& dup, int64_t count);

struct AttentionShape {
  int64_t batch, queries, keys, heads, kv_heads, width;
  // Above 0.
  float scale;
  // [batch, keys] document of every key position, or nullptr. A document lies in one piece.
  const int32_t* segments;
  // Of all tensors but log_sum, which is f32.
  Type type;
};

// o = softmax(scale·q·kᵀ)·v over the keys that a query sees: those of its own document up to its own position; queries are the last of the
// keys. q, o [batch, queries, heads, width]; k, v [batch, keys, kv_heads, width], kv_heads divides heads; log_sum [batch, heads, queries] =
// log Σ e^score is kept for the gradient.
void Attention(const void* q, const void* k, const void* v, void* o, float* log_sum, const AttentionShape& shape);
void AttentionGradients(const void* d_o, const void* q, const void* k, const void* v, const void* o, const float* log_sum, void* dq, void* dk,
                        void* dv, const AttentionShape& shape);

// Σ −log softmax(h·Wᵀ)[target]; with dh its gradient, with dw (f32 [vocabulary, width]) the weight's too.
double LinearCrossEntropy(const Values& h, const Matrix& weight, const int32_t* targets, float* dh, float* dw, int64_t rows, bool round);

struct AdamW {
  double beta1, beta2;
  float epsilon;
  bool torch;
};
// What is held in bf16 is rounded stochastically, so that what is too small for its last bit is not lost but adds up; by `seed` and place.
void AdamWStep(const Values& p, const Values& m, const Values& v, const float* g, int64_t count, int64_t step, double learning_rate,
               double weight_decay, uint32_t seed, const AdamW& hyper);

double SquaredNorm(const float* x, int64_t count);

}  // namespace lft
