#include "quantised.h"

#include <algorithm>

#include "vector_math.h"
#if defined(__x86_64__)
#include "vectors_avx512.h"
#endif

namespace lft {
namespace {

LFT_DISPATCH void UnpackRow(const int8_t* codes, float scale, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; i++) out[i] = RoundToBf16(static_cast<float>(codes[i]) * scale);
}

// Values of one block, by a table of the 16 that it may have.
void UnpackNf4Block(const uint8_t* codes, float scale, int64_t count, uint16_t* out) {
  uint16_t table[16];
  for (int i = 0; i < 16; i++) table[i] = RoundToBf16(kNf4Levels[i] * scale);
  for (int64_t i = 0; i < count; i++) out[i] = table[i & 1 ? codes[i / 2] & 15 : codes[i / 2] >> 4];
}

#if defined(__x86_64__)
LFT_VECTORS void UnpackNf4BlockByUnit(const uint8_t* codes, float scale, uint16_t* out) {
  // Twice: an index is five bits of a word, and the fifth is of another code.
  __m512i table = _mm512_broadcast_i64x4(RoundedToBf16(_mm512_mul_ps(_mm512_loadu_ps(kNf4Levels), _mm512_set1_ps(scale))));
  for (int half = 0; half < 2; half++) {
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16 * half)));
    __m512i indices = _mm512_or_si512(_mm512_srli_epi32(bytes, 4), _mm512_slli_epi32(bytes, 16));
    _mm512_storeu_si512(out + 32 * half, _mm512_permutexvar_epi16(indices, table));
  }
}
#endif

}  // namespace

void UnpackInt8(const Int8Matrix& w, uint16_t* out) {
#pragma omp parallel for schedule(static) if (w.rows * w.columns > 16384)
  for (int64_t r = 0; r < w.rows; r++) UnpackRow(w.codes + r * w.columns, w.scales[r], w.columns, out + r * w.columns);
}

void UnpackNf4(const Nf4Matrix& w, uint16_t* out) {
#if defined(__x86_64__)
  const bool unit = HasVectors();
#endif
  int64_t count = w.rows * w.columns;
#pragma omp parallel for schedule(static) if (count > 16384)
  for (int64_t begin = 0; begin < count; begin += kNf4Block) {
    const uint8_t* from = w.codes + begin / 2;
    float scale = w.scales[begin / kNf4Block];
#if defined(__x86_64__)
    if (unit && count - begin >= kNf4Block) {
      UnpackNf4BlockByUnit(from, scale, out + begin);
      continue;
    }
#endif
    UnpackNf4Block(from, scale, std::min(kNf4Block, count - begin), out + begin);
  }
}

}  // namespace lft
