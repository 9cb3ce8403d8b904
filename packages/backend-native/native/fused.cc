#include "fused.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "memory.h"
#include "vector_math.h"

namespace lft {

LFT_DISPATCH static void RmsNormRows(const float* x, const float* weight, float epsilon, float* y, float* inverse, int64_t begin,
                                     int64_t end, int64_t width) {
  for (int64_t r = begin; r < end; r++) {
    const float* in = x + r * width;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++) sum += in[i] * in[i];
    float scale = 1.0f / std::sqrt(sum / width + epsilon);
    inverse[r] = scale;
    float* out = y + r * width;
#pragma omp simd
    for (int64_t i = 0; i < width; i++) out[i] = in[i] * scale * weight[i];
  }
}

// Splits [0, count) evenly over the threads: the same split for the same number of threads, so the same bits.
template <typename Body>
static void Split(int64_t count, int64_t cost, Body body) {
  if (count * cost < 16384) return body(int64_t{0}, count);
#pragma omp parallel
  {
    int64_t threads = omp_get_num_threads(), t = omp_get_thread_num();
    int64_t begin = count * t / threads, end = count * (t + 1) / threads;
    if (begin < end) body(begin, end);
  }
}

void RmsNorm(const float* x, const float* weight, float epsilon, float* y, float* inverse, int64_t rows, int64_t width) {
  Split(rows, width, [&](int64_t b, int64_t e) { RmsNormRows(x, weight, epsilon, y, inverse, b, e, width); });
}

LFT_DISPATCH static void RmsNormGradientRows(const float* dy, const float* x, const float* weight, const float* inverse, float* dx,
                                             int64_t begin, int64_t end, int64_t width) {
  for (int64_t r = begin; r < end; r++) {
    const float *d = dy + r * width, *in = x + r * width;
    float scale = inverse[r], dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < width; i++) dot += d[i] * weight[i] * in[i];
    float mean = dot * scale / width;
    float* out = dx + r * width;
#pragma omp simd
    for (int64_t i = 0; i < width; i++) out[i] = scale * (d[i] * weight[i] - in[i] * scale * mean);
  }
}

void RmsNormInputGradient(const float* dy, const float* x, const float* weight, const float* inverse, float* dx, int64_t rows,
                          int64_t width) {
  Split(rows, width, [&](int64_t b, int64_t e) { RmsNormGradientRows(dy, x, weight, inverse, dx, b, e, width); });
}

LFT_DISPATCH static void RotaryRows(const float* x, const float* cos, const float* sin, float* y, int64_t begin, int64_t end,
                                    int64_t heads, int64_t width, float direction) {
  int64_t half = width / 2;
  for (int64_t r = begin; r < end; r++) {
    const float *c = cos + r * width, *s = sin + r * width;
    for (int64_t h = 0; h < heads; h++) {
      const float* in = x + (r * heads + h) * width;
      float* out = y + (r * heads + h) * width;
#pragma omp simd
      for (int64_t i = 0; i < half; i++) {
        float a = in[i], b = in[i + half];
        out[i] = a * c[i] - direction * b * s[i];
        out[i + half] = b * c[i + half] + direction * a * s[i + half];
      }
    }
  }
}

void Rotary(const float* x, const float* cos, const float* sin, float* y, int64_t rows, int64_t heads, int64_t width, float direction) {
  Split(rows, heads * width, [&](int64_t b, int64_t e) { RotaryRows(x, cos, sin, y, b, e, heads, width, direction); });
}

LFT_DISPATCH static void SwigluRange(const float* gate, const float* up, float* y, int64_t begin, int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; i++) y[i] = gate[i] * Sigmoid(gate[i]) * up[i];
}

void Swiglu(const float* gate, const float* up, float* y, int64_t count) {
  Split(count, 4, [&](int64_t b, int64_t e) { SwigluRange(gate, up, y, b, e); });
}

LFT_DISPATCH static void SwigluGradientRange(const float* dy, const float* gate, const float* up, float* dgate, float* dup, int64_t begin,
                                             int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; i++) {
    float s = Sigmoid(gate[i]), g = gate[i], d = dy[i];
    dup[i] = d * g * s;
    dgate[i] = d * up[i] * s * (1.0f + g * (1.0f - s));
  }
}

void SwigluGradients(const float* dy, const float* gate, const float* up, float* dgate, float* dup, int64_t count) {
  Split(count, 8, [&](int64_t b, int64_t e) { SwigluGradientRange(dy, gate, up, dgate, dup, b, e); });
}

LFT_DISPATCH static void AdamWRange(float* p, float* m, float* v, const float* g, int64_t begin, int64_t end, float b1, float b2,
                                    float decay, float rate, float root_correction, float epsilon, bool torch) {
  float c1 = 1.0f - b1, c2 = 1.0f - b2;
  if (torch) {
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
      m[i] = b1 * m[i] + c1 * g[i];
      v[i] = b2 * v[i] + c2 * g[i] * g[i];
      p[i] = p[i] * decay - rate * m[i] / (std::sqrt(v[i]) * root_correction + epsilon);
    }
  } else {
#pragma omp simd
    for (int64_t i = begin; i < end; i++) {
      m[i] = b1 * m[i] + c1 * g[i];
      v[i] = b2 * v[i] + c2 * g[i] * g[i];
      p[i] = (p[i] - rate * m[i] / (std::sqrt(v[i]) + epsilon)) * decay;
    }
  }
}

void AdamWStep(float* p, float* m, float* v, const float* g, int64_t count, int64_t step, double learning_rate, double weight_decay,
               const AdamW& hyper) {
  double c1 = 1 - std::pow(hyper.beta1, step), c2 = 1 - std::pow(hyper.beta2, step);
  float decay = static_cast<float>(1 - learning_rate * weight_decay);
  float rate = static_cast<float>(hyper.torch ? learning_rate / c1 : learning_rate * std::sqrt(c2) / c1);
  float root = static_cast<float>(1 / std::sqrt(c2));
  Split(count, 4, [&](int64_t b, int64_t e) {
    AdamWRange(p, m, v, g, b, e, static_cast<float>(hyper.beta1), static_cast<float>(hyper.beta2), decay, rate, root, hyper.epsilon, hyper.torch);
  });
}

LFT_DISPATCH static double SquaredRange(const float* x, int64_t begin, int64_t end) {
  double total = 0;
  for (int64_t i = begin; i < end; i += 4096) {
    int64_t stop = i + 4096 < end ? i + 4096 : end;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = i; j < stop; j++) sum += x[j] * x[j];
    total += sum;
  }
  return total;
}

double SquaredNorm(const float* x, int64_t count) {
  int threads = omp_get_max_threads();
  std::vector<double> parts(threads, 0.0);
  Split(count, 1, [&](int64_t b, int64_t e) { parts[omp_get_thread_num()] = SquaredRange(x, b, e); });
  double total = 0;
  for (double part : parts) total += part;
  return total;
}

}  // namespace lft
