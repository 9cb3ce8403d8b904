#include "int8_rows.h"

#if defined(__x86_64__)
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "memory.h"
#include "vectors_avx512.h"

namespace lft {
namespace {

// A value beyond this many times the mean size of its row's is an outlier. Its code is 0, and its products are f32: with it in the range,
// the codes of the others would be coarse (LLM.int8(), arXiv 2208.07339, does it by columns). Normally distributed values have none.
constexpr float kOutlier = 12;

// 64 values of a row as f32, times `factors` where there are some; zeros beyond `left`.
struct Part {
  __m512 values[4];
};
template <Type kType, bool kScaled>
LFT_VNNI inline Part Load(const void* row, const float* factors, int64_t k, int64_t left) {
  Part part;
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    __mmask16 mask = FirstLanes(left - 16 * i);
    int64_t at = k + 16 * i;
    part.values[i] = LoadValues<kType>(row, at, mask);
    if constexpr (kScaled) part.values[i] = _mm512_mul_ps(part.values[i], _mm512_maskz_loadu_ps(mask, factors + at));
  }
  return part;
}

// Adds a part to what says how large the values of a row are.
LFT_VNNI inline void Measure(const Part& part, __m512i& largest, __m512& sum) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    __m512 size = _mm512_abs_ps(part.values[i]);
    // Compared as bits, a NaN is larger than all numbers, and is not lost.
    largest = _mm512_max_epu32(largest, _mm512_castps_si512(size));
    sum = _mm512_add_ps(sum, size);
  }
}

// Moves the values above the limit from a part that begins at k to the outliers.
LFT_VNNI inline void TakeOutliers(Part& part, float limit, int64_t k, Outlier* outliers, int32_t& count) {
  for (int i = 0; i < 4; i++) {
    __mmask16 beyond = _mm512_cmp_ps_mask(_mm512_abs_ps(part.values[i]), _mm512_set1_ps(limit), _CMP_GT_OQ);
    if (beyond == 0) continue;
    alignas(64) float values[16];
    _mm512_store_ps(values, part.values[i]);
    part.values[i] = _mm512_mask_mov_ps(part.values[i], beyond, _mm512_setzero_ps());
    for (unsigned left = beyond; left != 0; left &= left - 1) {
      int lane = __builtin_ctz(left);
      outliers[count++] = {static_cast<int32_t>(k + 16 * i + lane), values[lane]};
    }
  }
}

LFT_VNNI inline __m512i Codes(const Part& part, __m512 inverse) {
  __m512i rounded[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) rounded[i] = _mm512_cvtps_epi32(_mm512_mul_ps(part.values[i], inverse));
  __m512i packed = _mm512_packs_epi16(_mm512_packs_epi32(rounded[0], rounded[1]), _mm512_packs_epi32(rounded[2], rounded[3]));
  // Packing goes by quarters of a vector.
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), packed);
}

template <Type kType, bool kScaled>
LFT_VNNI void QuantiseRow(const void* row, int64_t width, const float* factors, const Int8Rows& out, int64_t i) {
  __m512i largest = _mm512_setzero_si512();
  __m512 sizes = _mm512_setzero_ps();
  for (int64_t k = 0; k < width; k += 64) Measure(Load<kType, kScaled>(row, factors, k, width - k), largest, sizes);
  uint32_t bits = _mm512_reduce_max_epu32(largest);
  float absmax;
  std::memcpy(&absmax, &bits, 4);
  float limit = absmax;
  // The inverse of a smaller one would be infinite.
  bool zeros = absmax < 1e-30f;
  if (!zeros) limit = std::min(limit, kOutlier * (_mm512_reduce_add_ps(sizes) / static_cast<float>(width)));
  bool outliers = limit < absmax;
  out.scales[i] = std::isfinite(absmax) ? limit / 127 : std::numeric_limits<float>::quiet_NaN();
  __m512 inverse = _mm512_set1_ps(zeros ? 0 : 127 / limit);
  int8_t* codes = out.codes + i * out.stride;
  const __m512i one = _mm512_set1_epi8(1);
  __m512i sum = _mm512_setzero_si512();
  int32_t count = 0;
  for (int64_t k = 0; k < width; k += 64) {
    Part part = Load<kType, kScaled>(row, factors, k, width - k);
    if (outliers) TakeOutliers(part, limit, k, out.outliers + i * out.capacity, count);
    __m512i packed = Codes(part, inverse);
    sum = _mm512_dpbusd_epi32(sum, one, packed);
    _mm512_store_si512(codes + k, packed);
  }
  out.outlier_counts[i] = count;
  out.excess[i] = 128 * _mm512_reduce_add_epi32(sum);
}

}  // namespace

Int8Rows QuantiseRows(const Values& x, int64_t count, int64_t width, const float* factors) {
  // An odd number of lines: rows at a distance of a power of two would fall on each other in the cache.
  int64_t stride = ((width + 63) / 64 | 1) * 64;
  // No more values than this can be so far above the mean.
  int64_t capacity = static_cast<int64_t>(static_cast<float>(width) / kOutlier) + 1;
  int64_t whole = (count + kMostTileRows - 1) / kMostTileRows * kMostTileRows;
  auto* memory = static_cast<char*>(Scratch(8, whole * stride + count * (12 + capacity * static_cast<int64_t>(sizeof(Outlier)))));
  auto* scales = reinterpret_cast<float*>(memory + whole * stride);
  auto* excess = reinterpret_cast<int32_t*>(scales + count);
  Int8Rows rows{reinterpret_cast<int8_t*>(memory), stride, scales, excess, reinterpret_cast<Outlier*>(excess + 2 * count), excess + count, capacity};
  bool f32 = x.type == Type::kF32;
  auto* quantise = factors == nullptr ? f32 ? QuantiseRow<Type::kF32, false> : QuantiseRow<Type::kBf16, false>
                                      : f32 ? QuantiseRow<Type::kF32, true> : QuantiseRow<Type::kBf16, true>;
#pragma omp parallel for schedule(static) if (count * width > 8192)
  for (int64_t i = 0; i < count; i++) quantise(static_cast<char*>(x.data) + i * width * BytesOf(x.type), width, factors, rows, i);
  return rows;
}

}  // namespace lft
#endif
