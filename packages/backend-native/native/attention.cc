#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "fused.h"
#include "memory.h"
#include "vector_math.h"

// Attention in tiles: a block of queries against all the keys it sees, head by head, so that scores exist for one tile a thread. The
// products are small and their operands lie strided by head, so they are written out here and not handed to the library.

namespace lft {
namespace {

// Queries in a tile.
constexpr int64_t kTile = 32;

// Rows of one head of [batch, length, heads, width], copied to a dense [length, width] matrix.
void GatherHead(const float* x, float* out, int64_t batch, int64_t head, int64_t length, int64_t heads, int64_t width) {
  for (int64_t t = 0; t < length; t++) {
    std::memcpy(out + t * width, x + ((batch * length + t) * heads + head) * width, width * sizeof(float));
  }
}

// c [m, n] (+)= a [m, k] · b [k, n], all dense rows with the given strides.
LFT_DISPATCH void SmallProduct(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t k, int64_t n,
                               bool accumulate) {
  constexpr int64_t kRows = 4, kColumns = 32;
  for (int64_t j = 0; j < n; j += kColumns) {
    int64_t width = std::min(kColumns, n - j);
    for (int64_t i = 0; i < m; i += kRows) {
      int64_t rows = std::min(kRows, m - i);
      if (rows == kRows && width == kColumns) {
        float sum[kRows][kColumns];
        for (int64_t r = 0; r < kRows; r++)
          for (int64_t t = 0; t < kColumns; t++) sum[r][t] = accumulate ? c[(i + r) * ldc + j + t] : 0.0f;
        for (int64_t p = 0; p < k; p++) {
          const float* row = b + p * ldb + j;
          for (int64_t r = 0; r < kRows; r++) {
            float factor = a[(i + r) * lda + p];
#pragma omp simd
            for (int64_t t = 0; t < kColumns; t++) sum[r][t] += factor * row[t];
          }
        }
        for (int64_t r = 0; r < kRows; r++)
          for (int64_t t = 0; t < kColumns; t++) c[(i + r) * ldc + j + t] = sum[r][t];
      } else {
        for (int64_t r = i; r < i + rows; r++) {
          for (int64_t t = j; t < j + width; t++) {
            float sum = accumulate ? c[r * ldc + t] : 0.0f;
            for (int64_t p = 0; p < k; p++) sum += a[r * lda + p] * b[p * ldb + t];
            c[r * ldc + t] = sum;
          }
        }
      }
    }
  }
}

void Transpose(const float* x, float* out, int64_t rows, int64_t columns) {
  constexpr int64_t kBlock = 16;
  for (int64_t i = 0; i < rows; i += kBlock)
    for (int64_t j = 0; j < columns; j += kBlock)
      for (int64_t r = i; r < std::min(rows, i + kBlock); r++)
        for (int64_t c = j; c < std::min(columns, j + kBlock); c++) out[c * rows + r] = x[r * columns + c];
}

// First key that a query may see, and one past the last: its own document up to its own position. Documents lie in one piece.
struct Range {
  int64_t begin, end;
};

std::vector<Range> Visible(const AttentionShape& s, int64_t batch) {
  std::vector<Range> ranges(s.queries);
  int64_t past = s.keys - s.queries;
  for (int64_t q = 0; q < s.queries; q++) {
    int64_t position = q + past, begin = 0;
    if (s.segments != nullptr) {
      const int32_t* row = s.segments + batch * s.keys;
      begin = position;
      while (begin > 0 && row[begin - 1] == row[position]) begin--;
    }
    ranges[q] = {begin, position + 1};
  }
  return ranges;
}

// scores [rows, keys] → probabilities, masked ones 0. Gives log Σ e^score of each row.
LFT_DISPATCH void SoftmaxRows(float* scores, const Range* ranges, float* log_sum, int64_t rows, int64_t from, int64_t to, int64_t stride) {
  for (int64_t r = 0; r < rows; r++) {
    float* row = scores + r * stride - from;
    int64_t begin = ranges[r].begin, end = ranges[r].end;
    float max = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : max)
    for (int64_t j = begin; j < end; j++) max = row[j] > max ? row[j] : max;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = begin; j < end; j++) {
      float e = Exp(row[j] - max);
      row[j] = e;
      sum += e;
    }
    float inverse = 1.0f / sum;
#pragma omp simd
    for (int64_t j = begin; j < end; j++) row[j] *= inverse;
    for (int64_t j = from; j < begin; j++) row[j] = 0;
    for (int64_t j = end; j < to; j++) row[j] = 0;
    log_sum[r] = max + std::log(sum);
  }
}

LFT_DISPATCH void ProbabilityRows(float* scores, const Range* ranges, const float* log_sum, int64_t rows, int64_t from, int64_t to,
                                  int64_t stride) {
  for (int64_t r = 0; r < rows; r++) {
    float* row = scores + r * stride - from;
    int64_t begin = ranges[r].begin, end = ranges[r].end;
    float l = log_sum[r];
#pragma omp simd
    for (int64_t j = begin; j < end; j++) row[j] = Exp(row[j] - l);
    for (int64_t j = from; j < begin; j++) row[j] = 0;
    for (int64_t j = end; j < to; j++) row[j] = 0;
  }
}

LFT_DISPATCH void ScoreGradient(const float* p, float* dp, const float* delta, float scale, int64_t rows, int64_t columns, int64_t stride) {
  for (int64_t r = 0; r < rows; r++) {
    float d = delta[r];
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) dp[r * stride + j] = p[r * stride + j] * (dp[r * stride + j] - d) * scale;
  }
}

void AttentionF32(const float* q, const float* k, const float* v, float* o, float* log_sum, const AttentionShape& s) {
  int64_t group = s.heads / s.kv_heads;
  std::vector<std::vector<Range>> visible(s.batch);
  for (int64_t b = 0; b < s.batch; b++) visible[b] = Visible(s, b);
#pragma omp parallel for schedule(static) collapse(2)
  for (int64_t b = 0; b < s.batch; b++) {
    for (int64_t kv = 0; kv < s.kv_heads; kv++) {
      std::vector<float> keys(s.keys * s.width), keys_t(s.keys * s.width), values(s.keys * s.width);
      std::vector<float> rows(kTile * s.width), scores(kTile * s.keys), mixed(kTile * s.width);
      GatherHead(k, keys.data(), b, kv, s.keys, s.kv_heads, s.width);
      GatherHead(v, values.data(), b, kv, s.keys, s.kv_heads, s.width);
      Transpose(keys.data(), keys_t.data(), s.keys, s.width);
      for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
        for (int64_t t = 0; t < s.queries; t += kTile) {
          int64_t count = std::min(kTile, s.queries - t);
          int64_t from = s.keys, to = 0;
          for (int64_t r = 0; r < count; r++) {
            from = std::min(from, visible[b][t + r].begin);
            to = std::max(to, visible[b][t + r].end);
            const float* in = q + ((b * s.queries + t + r) * s.heads + h) * s.width;
            for (int64_t i = 0; i < s.width; i++) rows[r * s.width + i] = in[i] * s.scale;
          }
          int64_t seen = to - from;
          SmallProduct(rows.data(), s.width, keys_t.data() + from, s.keys, scores.data(), seen, count, s.width, seen, false);
          SoftmaxRows(scores.data(), visible[b].data() + t, log_sum + (b * s.heads + h) * s.queries + t, count, from, to, seen);
          SmallProduct(scores.data(), seen, values.data() + from * s.width, s.width, mixed.data(), s.width, count, seen, s.width, false);
          for (int64_t r = 0; r < count; r++) {
            std::memcpy(o + ((b * s.queries + t + r) * s.heads + h) * s.width, mixed.data() + r * s.width, s.width * sizeof(float));
          }
        }
      }
    }
  }
}

void GradientsF32(const float* d_o, const float* q, const float* k, const float* v, const float* o, const float* log_sum, float* dq, float* dk,
                  float* dv, const AttentionShape& s) {
  int64_t group = s.heads / s.kv_heads;
  std::vector<std::vector<Range>> visible(s.batch);
  for (int64_t b = 0; b < s.batch; b++) visible[b] = Visible(s, b);
#pragma omp parallel for schedule(static) collapse(2)
  for (int64_t b = 0; b < s.batch; b++) {
    for (int64_t kv = 0; kv < s.kv_heads; kv++) {
      int64_t n = s.keys, w = s.width;
      std::vector<float> keys(n * w), keys_t(n * w), values(n * w), values_t(n * w), dkeys(n * w, 0.0f), dvalues(n * w, 0.0f);
      std::vector<float> rows(kTile * w), d_rows(kTile * w), p(kTile * n), dp(kTile * n), turned(kTile * n), out(kTile * w), delta(kTile);
      GatherHead(k, keys.data(), b, kv, n, s.kv_heads, w);
      GatherHead(v, values.data(), b, kv, n, s.kv_heads, w);
      Transpose(keys.data(), keys_t.data(), n, w);
      Transpose(values.data(), values_t.data(), n, w);
      for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
        for (int64_t t = 0; t < s.queries; t += kTile) {
          int64_t count = std::min(kTile, s.queries - t);
          int64_t from = n, to = 0;
          for (int64_t r = 0; r < count; r++) {
            from = std::min(from, visible[b][t + r].begin);
            to = std::max(to, visible[b][t + r].end);
            int64_t at = ((b * s.queries + t + r) * s.heads + h) * w;
            float dot = 0;
            for (int64_t i = 0; i < w; i++) {
              rows[r * w + i] = q[at + i] * s.scale;
              d_rows[r * w + i] = d_o[at + i];
              dot += d_o[at + i] * o[at + i];
            }
            delta[r] = dot;
          }
          int64_t seen = to - from;
          SmallProduct(rows.data(), w, keys_t.data() + from, n, p.data(), seen, count, w, seen, false);
          ProbabilityRows(p.data(), visible[b].data() + t, log_sum + (b * s.heads + h) * s.queries + t, count, from, to, seen);
          SmallProduct(d_rows.data(), w, values_t.data() + from, n, dp.data(), seen, count, w, seen, false);
          // dV += Pᵀ·dO
          Transpose(p.data(), turned.data(), count, seen);
          SmallProduct(turned.data(), count, d_rows.data(), w, dvalues.data() + from * w, w, seen, count, w, true);
          // dS = P∘(dP − delta), dQ = scale·dS·K, dK += dSᵀ·(scale·Q): the scale is in `rows` already for dK.
          ScoreGradient(p.data(), dp.data(), delta.data(), 1.0f, count, seen, seen);
          SmallProduct(dp.data(), seen, keys.data() + from * w, w, out.data(), w, count, seen, w, false);
          for (int64_t r = 0; r < count; r++) {
            float* target = dq + ((b * s.queries + t + r) * s.heads + h) * w;
            for (int64_t i = 0; i < w; i++) target[i] = out[r * w + i] * s.scale;
          }
          Transpose(dp.data(), turned.data(), count, seen);
          SmallProduct(turned.data(), count, rows.data(), w, dkeys.data() + from * w, w, seen, count, w, true);
        }
      }
      for (int64_t t = 0; t < n; t++) {
        int64_t at = ((b * n + t) * s.kv_heads + kv) * w;
        std::memcpy(dk + at, dkeys.data() + t * w, w * sizeof(float));
        std::memcpy(dv + at, dvalues.data() + t * w, w * sizeof(float));
      }
    }
  }
}

// An f32 copy of bf16 values.
std::vector<float> Widened(const void* x, int64_t count) {
  std::vector<float> wide(count);
  FromBf16(static_cast<const uint16_t*>(x), wide.data(), count);
  return wide;
}

}  // namespace

void Attention(const void* q, const void* k, const void* v, void* o, float* log_sum, const AttentionShape& s) {
  if (s.type == Type::kF32) {
    return AttentionF32(static_cast<const float*>(q), static_cast<const float*>(k), static_cast<const float*>(v), static_cast<float*>(o), log_sum, s);
  }
  int64_t n = s.batch * s.queries * s.heads * s.width, kv = s.batch * s.keys * s.kv_heads * s.width;
  std::vector<float> out(n);
  AttentionF32(Widened(q, n).data(), Widened(k, kv).data(), Widened(v, kv).data(), out.data(), log_sum, s);
  ToBf16(out.data(), static_cast<uint16_t*>(o), n);
}

void AttentionGradients(const void* d_o, const void* q, const void* k, const void* v, const void* o, const float* log_sum, void* dq, void* dk,
                        void* dv, const AttentionShape& s) {
  if (s.type == Type::kF32) {
    return GradientsF32(static_cast<const float*>(d_o), static_cast<const float*>(q), static_cast<const float*>(k), static_cast<const float*>(v),
                        static_cast<const float*>(o), log_sum, static_cast<float*>(dq), static_cast<float*>(dk), static_cast<float*>(dv), s);
  }
  int64_t n = s.batch * s.queries * s.heads * s.width, kv = s.batch * s.keys * s.kv_heads * s.width;
  std::vector<float> wide_dq(n), wide_dk(kv), wide_dv(kv);
  GradientsF32(Widened(d_o, n).data(), Widened(q, n).data(), Widened(k, kv).data(), Widened(v, kv).data(), Widened(o, n).data(), log_sum,
               wide_dq.data(), wide_dk.data(), wide_dv.data(), s);
  ToBf16(wide_dq.data(), static_cast<uint16_t*>(dq), n);
  ToBf16(wide_dk.data(), static_cast<uint16_t*>(dk), kv);
  ToBf16(wide_dv.data(), static_cast<uint16_t*>(dv), kv);
}

}  // namespace lft
