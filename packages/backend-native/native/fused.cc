#include "fused.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "memory.h"
#include "split.h"
#include "vector_math.h"

namespace lft {

LFT_DISPATCH static float RmsNormRow(const float* x, const float* weight, float epsilon, float* y, int64_t width) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; i++) sum += x[i] * x[i];
  float scale = 1.0f / std::sqrt(sum / width + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < width; i++) y[i] = x[i] * scale * weight[i];
  return scale;
}

void RmsNorm(const Values& x, const float* weight, float epsilon, const Values& y, float* inverse, int64_t rows, int64_t width) {
  Split(rows, width, [&](int64_t begin, int64_t end) {
    std::vector<float> in(width), out(width);
    for (int64_t r = begin; r < end; r++) {
      float* target = Target(y, r * width, out.data());
      inverse[r] = RmsNormRow(Read(x, r * width, width, in.data()), weight, epsilon, target, width);
      Write(y, r * width, width, target);
    }
  });
}

LFT_DISPATCH static void RmsNormGradientRow(const float* dy, const float* x, const float* weight, float scale, const float* before, float* dx,
                                            int64_t width) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < width; i++) dot += dy[i] * weight[i] * x[i];
  float mean = dot * scale / width;
#pragma omp simd
  for (int64_t i = 0; i < width; i++) dx[i] = before[i] + scale * (dy[i] * weight[i] - x[i] * scale * mean);
}

void RmsNormInputGradient(const Values& dy, const Values& x, const float* weight, const float* inverse, const Values& dx, int64_t rows,
                          int64_t width, bool adds) {
  const std::vector<float> zeros(adds ? 0 : width);
  Split(rows, width, [&](int64_t begin, int64_t end) {
    std::vector<float> d(width), in(width), out(width);
    for (int64_t r = begin; r < end; r++) {
      int64_t at = r * width;
      float* target = Target(dx, at, out.data());
      const float* before = adds ? Read(dx, at, width, out.data()) : zeros.data();
      RmsNormGradientRow(Read(dy, at, width, d.data()), Read(x, at, width, in.data()), weight, inverse[r], before, target, width);
      Write(dx, at, width, target);
    }
  });
}

LFT_DISPATCH static void AddProducts(const float* dy, const float* x, float scale, float* sums, int64_t width) {
#pragma omp simd
  for (int64_t i = 0; i < width; i++) sums[i] += dy[i] * (x[i] * scale);
}

void RmsNormWeightGradient(const Values& dy, const Values& x, const float* inverse, float* dw, int64_t rows, int64_t width) {
  std::vector<float> sums(omp_get_max_threads() * width);
  Split(rows, width, [&](int64_t begin, int64_t end) {
    std::vector<float> d(width), in(width);
    float* own = sums.data() + omp_get_thread_num() * width;
    for (int64_t r = begin; r < end; r++) {
      AddProducts(Read(dy, r * width, width, d.data()), Read(x, r * width, width, in.data()), inverse[r], own, width);
    }
  });
  std::copy_n(sums.data(), width, dw);
  for (size_t at = width; at < sums.size(); at += width)
    for (int64_t i = 0; i < width; i++) dw[i] += sums[at + i];
}

LFT_DISPATCH static void RotaryHead(const float* x, const float* cos, const float* sin, float* y, int64_t half, float direction) {
#pragma omp simd
  for (int64_t i = 0; i < half; i++) {
    float a = x[i], b = x[i + half];
    y[i] = a * cos[i] - direction * b * sin[i];
    y[i + half] = b * cos[i + half] + direction * a * sin[i + half];
  }
}

void Rotary(const Values& x, const float* cos, const float* sin, const Values& y, int64_t rows, int64_t heads, int64_t width,
            float direction) {
  int64_t length = heads * width;
  Split(rows, length, [&](int64_t begin, int64_t end) {
    std::vector<float> in(length), out(length);
    for (int64_t r = begin; r < end; r++) {
      const float* source = Read(x, r * length, length, in.data());
      float* target = Target(y, r * length, out.data());
      for (int64_t h = 0; h < length; h += width) {
        RotaryHead(source + h, cos + r * width, sin + r * width, target + h, width / 2, direction);
      }
      Write(y, r * length, length, target);
    }
  });
}

LFT_DISPATCH static void SwigluPart(const float* gate, const float* up, float* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] = gate[i] * Sigmoid(gate[i]) * up[i];
}

void Swiglu(const Values& gate, const Values& up, const Values& y, int64_t count) {
  SplitInParts(count, 4, [&](int64_t at, int64_t n) {
    alignas(64) float g[kPart], u[kPart], out[kPart];
    float* target = Target(y, at, out);
    SwigluPart(Read(gate, at, n, g), Read(up, at, n, u), target, n);
    Write(y, at, n, target);
  });
}

LFT_DISPATCH static void SwigluGradientPart(const float* dy, const float* gate, const float* up, float* dgate, float* dup, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) {
    float s = Sigmoid(gate[i]), g = gate[i], d = dy[i];
    dup[i] = d * g * s;
    dgate[i] = d * up[i] * s * (1.0f + g * (1.0f - s));
  }
}

void SwigluGradients(const Values& dy, const Values& gate, const Values& up, const Values& dgate, const Values& dup, int64_t count) {
  SplitInParts(count, 8, [&](int64_t at, int64_t n) {
    alignas(64) float d[kPart], g[kPart], u[kPart], out_gate[kPart], out_up[kPart];
    float *to_gate = Target(dgate, at, out_gate), *to_up = Target(dup, at, out_up);
    SwigluGradientPart(Read(dy, at, n, d), Read(gate, at, n, g), Read(up, at, n, u), to_gate, to_up, n);
    Write(dgate, at, n, to_gate);
    Write(dup, at, n, to_up);
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
