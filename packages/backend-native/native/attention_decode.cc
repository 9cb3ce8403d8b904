#include "attention_decode.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>

#include "attention_tiles.h"
#include "memory.h"
#include "vector_math.h"

// One query per row of the batch: the work is to read keys and values once, where they lie. Blocks of keys go to different threads and their
// results are joined, in the same way for any number of threads.

namespace lft {
namespace {

constexpr int64_t kKeys = 256;
// Values of keys below which one thread is enough.
constexpr int64_t kSmall = int64_t{1} << 16;

inline float Wide(float x) { return x; }
inline float Wide(uint16_t x) {
  uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// What a block of keys adds for one query head, before it is divided by sum.
struct Part {
  float maximum, sum;
};

// q [heads, width] in f32 and scaled; keys and values with rows stride apart; scores [heads, kKeys], o [heads, width].
template <typename T>
inline __attribute__((always_inline)) void AttendBlock(const float* q, const T* keys, const T* values, int64_t stride, int64_t count, int64_t heads,
                                                       int64_t width, float* scores, float* row, Part* parts, float* o) {
  for (int64_t t = 0; t < count; t++) {
#pragma omp simd
    for (int64_t i = 0; i < width; i++) row[i] = Wide(keys[t * stride + i]);
    for (int64_t h = 0; h < heads; h++) {
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < width; i++) sum += row[i] * q[h * width + i];
      scores[h * kKeys + t] = sum;
    }
  }
  for (int64_t h = 0; h < heads; h++) {
    float maximum = -std::numeric_limits<float>::infinity(), sum = 0;
    float* own = scores + h * kKeys;
#pragma omp simd reduction(max : maximum)
    for (int64_t t = 0; t < count; t++) maximum = own[t] > maximum ? own[t] : maximum;
#pragma omp simd reduction(+ : sum)
    for (int64_t t = 0; t < count; t++) {
      own[t] = Exp(own[t] - maximum);
      sum += own[t];
    }
    parts[h] = {maximum, sum};
    std::fill_n(o + h * width, width, 0.0f);
  }
  for (int64_t t = 0; t < count; t++) {
#pragma omp simd
    for (int64_t i = 0; i < width; i++) row[i] = Wide(values[t * stride + i]);
    for (int64_t h = 0; h < heads; h++) {
      float p = scores[h * kKeys + t];
#pragma omp simd
      for (int64_t i = 0; i < width; i++) o[h * width + i] += p * row[i];
    }
  }
}

LFT_DISPATCH void AttendBlockF32(const float* q, const float* keys, const float* values, int64_t stride, int64_t count, int64_t heads, int64_t width,
                                 float* scores, float* row, Part* parts, float* o) {
  AttendBlock(q, keys, values, stride, count, heads, width, scores, row, parts, o);
}
LFT_DISPATCH void AttendBlockBf16(const float* q, const uint16_t* keys, const uint16_t* values, int64_t stride, int64_t count, int64_t heads,
                                  int64_t width, float* scores, float* row, Part* parts, float* o) {
  AttendBlock(q, keys, values, stride, count, heads, width, scores, row, parts, o);
}

// Joins the blocks of a head: parts and o lie `heads` resp. `heads · width` apart.
void Join(const Part* parts, const float* o, int64_t blocks, int64_t heads, int64_t width, float* out, float* log_sum) {
  float maximum = -std::numeric_limits<float>::infinity(), sum = 0;
  for (int64_t i = 0; i < blocks; i++) maximum = std::max(maximum, parts[i * heads].maximum);
  std::fill_n(out, width, 0.0f);
  for (int64_t i = 0; i < blocks; i++) {
    const Part& part = parts[i * heads];
    if (part.sum == 0) continue;
    float factor = std::exp(part.maximum - maximum);
    sum += factor * part.sum;
    for (int64_t j = 0; j < width; j++) out[j] += factor * o[i * heads * width + j];
  }
  for (int64_t j = 0; j < width; j++) out[j] /= sum;
  *log_sum = maximum + std::log(sum);
}

}  // namespace

void Decode(const void* q, const void* k, const void* v, void* o, float* log_sum, const AttentionShape& s) {
  int64_t group = s.heads / s.kv_heads, blocks = (s.keys + kKeys - 1) / kKeys, items = s.batch * s.kv_heads * blocks;
  int64_t stride = s.kv_heads * s.width;
  int threads = omp_get_max_threads();
  auto layout = [&](Pieces& pieces) {
    return std::make_tuple(pieces.Take<float>(s.batch * s.heads * s.width), pieces.Take<float>(s.batch * s.heads * s.width),
                           pieces.Take<Part>(items * group), pieces.Take<float>(items * group * s.width),
                           pieces.Take<float>(threads * (group * kKeys + s.width)), pieces.Take<Range>(s.batch));
  };
  Pieces size;
  layout(size);
  Pieces pieces(Scratch(kTileSlot, size.used()));
  auto [queries, joined, parts, mixed, buffers, visible] = layout(pieces);
  if (s.type == Type::kBf16) FromBf16(static_cast<const uint16_t*>(q), queries, s.batch * s.heads * s.width);
  else std::memcpy(queries, q, s.batch * s.heads * s.width * sizeof(float));
  for (int64_t i = 0; i < s.batch * s.heads * s.width; i++) queries[i] *= s.scale;
  for (int64_t b = 0; b < s.batch; b++) VisibleKeys(s, b, visible + b);
#pragma omp parallel for schedule(static) if (s.batch * s.keys * stride >= kSmall)
  for (int64_t i = 0; i < items; i++) {
    int64_t b = i / (s.kv_heads * blocks), kv = i / blocks % s.kv_heads, block = i % blocks;
    int64_t begin = std::max(block * kKeys, visible[b].begin), end = std::min((block + 1) * kKeys, s.keys);
    int64_t at = ((b * s.keys + begin) * s.kv_heads + kv) * s.width, count = std::max<int64_t>(end - begin, 0);
    float *scores = buffers + omp_get_thread_num() * (group * kKeys + s.width), *row = scores + group * kKeys;
    const float* rows = queries + (b * s.heads + kv * group) * s.width;
    Part* own = parts + i * group;
    float* out = mixed + i * group * s.width;
    if (s.type == Type::kBf16) {
      AttendBlockBf16(rows, static_cast<const uint16_t*>(k) + at, static_cast<const uint16_t*>(v) + at, stride, count, group, s.width, scores, row, own, out);
    } else {
      AttendBlockF32(rows, static_cast<const float*>(k) + at, static_cast<const float*>(v) + at, stride, count, group, s.width, scores, row, own, out);
    }
  }
  for (int64_t i = 0; i < s.batch * s.heads; i++) {
    int64_t first = i / group * blocks * group + i % group;
    Join(parts + first, mixed + first * s.width, blocks, group, s.width, joined + i * s.width, log_sum + i);
  }
  if (s.type == Type::kBf16) ToBf16(joined, static_cast<uint16_t*>(o), s.batch * s.heads * s.width);
  else std::memcpy(o, joined, s.batch * s.heads * s.width * sizeof(float));
}

}  // namespace lft
