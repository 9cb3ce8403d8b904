#include "quantised.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "amx.h"
#include "int8_rows.h"
#include "memory.h"
#if defined(__x86_64__)
#include "vectors_avx512.h"
#endif

namespace lft {

#if defined(__x86_64__)

#define LFT_AMX __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

namespace {

// Columns of the weight, as words of four codes one below the other: words[k / 4][columns]. Codes are code + 128 where they go in as u8.
struct Panel {
  uint8_t* data;
  int64_t columns, quads;
  bool excess;

  uint8_t* At(int64_t quad, int64_t column) const { return data + 4 * (quad * columns + column); }
};

// A matrix of codes whose columns are those of the result: down, code (k, n) lies at data + n * stride + k; else at data + k * stride + n.
struct Source {
  const int8_t* data;
  int64_t stride, inner;
  bool down;

  // Columns [n, n + width).
  LFT_VNNI void Pack(int64_t n, int64_t width, const Panel& panel) const {
    const __m512i excess = _mm512_set1_epi8(panel.excess ? static_cast<char>(128) : 0);
    if (down) {
      for (int64_t c = 0; c < panel.columns; c += 16) {
        for (int64_t q = 0; q < panel.quads; q += 16) {
          int64_t left = inner - 4 * q;
          __mmask64 mask = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
          __m512i r[16];
          for (int64_t i = 0; i < 16; i++) {
            r[i] = c + i < width ? _mm512_maskz_loadu_epi8(mask, data + (n + c + i) * stride + 4 * q) : _mm512_setzero_si512();
          }
          Transpose16(r);
          int64_t count = std::min<int64_t>(16, panel.quads - q);
          for (int64_t i = 0; i < count; i++) _mm512_store_si512(panel.At(q + i, c), _mm512_xor_si512(r[i], excess));
        }
      }
      return;
    }
    for (int64_t q = 0; q < panel.quads; q++) {
      for (int64_t c = 0; c < panel.columns; c += 16) {
        __mmask16 mask = FirstLanes(width - c);
        __m512i four = _mm512_setzero_si512();
        for (int64_t b = 0; b < 4 && 4 * q + b < inner; b++) {
          __m128i row = _mm_maskz_loadu_epi8(mask, data + (4 * q + b) * stride + n + c);
          four = _mm512_or_si512(four, _mm512_slli_epi32(_mm512_cvtepu8_epi32(row), 8 * static_cast<unsigned>(b)));
        }
        _mm512_store_si512(panel.At(q, c), _mm512_xor_si512(four, excess));
      }
    }
  }

  // Asks for part `part` of `parts` of what Pack will read.
  void Prefetch(int64_t n, int64_t width, int64_t part, int64_t parts) const {
    int64_t rows = down ? width : inner, length = down ? inner : width;
    const int8_t* first = down ? data + n * stride : data + n;
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++) {
      for (int64_t i = 0; i < length; i += 64) __builtin_prefetch(first + r * stride + i, 0, 2);
    }
  }
};

// Where a tile goes: values (r, c) to y[at + r * stride + c], times scales[c] where there are some, or added to it.
struct Target {
  const Values& y;
  int64_t at, stride, columns;
  const float* scales;
  bool adds;
};

template <Type kType>
LFT_VNNI inline void Put(__m512 value, const Target& to, int64_t at, __mmask16 mask) {
  if (to.adds) value = _mm512_add_ps(value, LoadValues<kType>(to.y.data, at, mask));
  StoreValues<kType>(to.y.data, at, mask, value);
}

LFT_VNNI inline void Store(__m512 value, const Target& to, int64_t r, int64_t c) {
  __mmask16 mask = FirstLanes(to.columns - c);
  if (to.scales != nullptr) value = _mm512_mul_ps(value, _mm512_maskz_loadu_ps(mask, to.scales + c));
  (to.y.type == Type::kF32 ? Put<Type::kF32> : Put<Type::kBf16>)(value, to, to.at + r * to.stride + c, mask);
}

// Row r of a tile, which is row `row` of x: the sums of its codes, as many vectors as the panel has, and the products of its outliers.
template <int kVectors>
LFT_VNNI inline void WriteRow(const __m512i* sums, const Int8Rows& x, int64_t row, const Panel& panel, const Target& to, int64_t r) {
  __m512i excess = _mm512_set1_epi32(panel.excess ? x.excess[row] : 0);
  __m512 scale = _mm512_set1_ps(x.scales[row]);
  __m512 values[kVectors];
#pragma GCC unroll 3
  for (int i = 0; i < kVectors; i++) values[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums[i], excess)), scale);
  const Outlier* outliers = x.outliers + row * x.capacity;
  for (int32_t o = 0; o < x.outlier_counts[row]; o++) {
    auto [at, value] = outliers[o];
    // The code's byte goes to the top of its word, and comes back with its sign, which an excess of 128 has turned.
    __m128i shift = _mm_cvtsi32_si128(24 - at % 4 * 8);
    const __m512i turned = _mm512_set1_epi32(panel.excess ? std::numeric_limits<int32_t>::min() : 0);
#pragma GCC unroll 3
    for (int i = 0; i < kVectors; i++) {
      __m512i top = _mm512_xor_si512(_mm512_sll_epi32(_mm512_load_si512(panel.At(at / 4, 16 * i)), shift), turned);
      values[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24)), _mm512_set1_ps(value), values[i]);
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kVectors; i++) Store(values[i], to, r, 16 * i);
}

// How tiles of the result are made.
struct Kernel {
  // The most rows of a tile, at most kMostTileRows, the columns of a panel, and what its quads are a multiple of.
  int64_t rows, columns, quads;
  bool excess;
  // The tile of x's rows from `row` on, `rows` of them, by a panel.
  void (*product)(const Int8Rows& x, int64_t row, int64_t rows, const Panel& panel, const Target& to);
  // Around the products of a thread.
  void (*begin)();
  void (*end)();
};

// With VPDPBUSD, u8 by s8: 8 rows by three vectors of columns, in 24 of 32 registers.
constexpr int64_t kVnniRows = 8, kVnniColumns = 48;

// In place, as an instruction of its own: GCC copies the sums of the intrinsic around the loop.
LFT_VNNI inline void AddProducts(__m512i& sum, __m512i w, __m512i x) { asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x)); }

// The sums of R rows. A struct in a struct and not an array: GCC would keep that in memory.
template <int R>
struct Sums {
  Sums<R - 1> before;
  __m512i first, second, third;

  LFT_VNNI inline void Clear() {
    before.Clear();
    first = second = third = _mm512_setzero_si512();
  }
  LFT_VNNI inline void Add(const int8_t* codes, int64_t stride, __m512i w0, __m512i w1, __m512i w2) {
    before.Add(codes, stride, w0, w1, w2);
    int32_t four;
    std::memcpy(&four, codes + (R - 1) * stride, 4);
    __m512i x = _mm512_set1_epi32(four);
    AddProducts(first, w0, x);
    AddProducts(second, w1, x);
    AddProducts(third, w2, x);
  }
  LFT_VNNI inline void Write(const Int8Rows& x, int64_t row, const Panel& panel, const Target& to) const {
    before.Write(x, row, panel, to);
    const __m512i sums[3] = {first, second, third};
    WriteRow<3>(sums, x, row + R - 1, panel, to, R - 1);
  }
};
template <>
struct Sums<0> {
  void Clear() {}
  void Add(const int8_t*, int64_t, __m512i, __m512i, __m512i) {}
  void Write(const Int8Rows&, int64_t, const Panel&, const Target&) const {}
};

template <int R>
LFT_VNNI void VnniRowsProduct(const Int8Rows& x, int64_t row, const Panel& panel, const Target& to) {
  Sums<R> sums;
  sums.Clear();
  const int8_t* codes = x.codes + row * x.stride;
  const uint8_t* next = panel.data;
  for (int64_t q = 0; q < panel.quads; q++) {
    sums.Add(codes, x.stride, _mm512_load_si512(next), _mm512_load_si512(next + 64), _mm512_load_si512(next + 128));
    codes += 4;
    next += 4 * kVnniColumns;
  }
  sums.Write(x, row, panel, to);
}

void VnniProduct(const Int8Rows& x, int64_t row, int64_t rows, const Panel& panel, const Target& to) {
  using Product = void (*)(const Int8Rows&, int64_t, const Panel&, const Target&);
  constexpr Product kProducts[kVnniRows] = {VnniRowsProduct<1>, VnniRowsProduct<2>, VnniRowsProduct<3>, VnniRowsProduct<4>,
                                            VnniRowsProduct<5>, VnniRowsProduct<6>, VnniRowsProduct<7>, VnniRowsProduct<8>};
  kProducts[rows - 1](x, row, panel, to);
}

// With TDPBSSD, s8 by s8, on the matrix units: two by two of their tiles of 16 rows of 64 bytes.
constexpr int64_t kAmxTile = 16, kAmxBytes = 64, kAmxColumns = 2 * kAmxTile;
static_assert(kMostTileRows == 2 * kAmxTile);

// kTiles of x's rows. What is beyond the rows of x is multiplied, and not written.
template <int kTiles>
LFT_AMX void AmxRowsProduct(const Int8Rows& x, int64_t row, int64_t rows, const Panel& panel, const Target& to) {
  constexpr int64_t kPanelBytes = 4 * kAmxColumns;
  const int8_t* codes = x.codes + row * x.stride;
  const uint8_t* next = panel.data;
  // The compiler does not know that tiles are loaded from what was written before.
  asm volatile("" ::: "memory");
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kTiles > 1) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t q = 0; q < panel.quads; q += kAmxTile) {
    _tile_loadd(6, next, kPanelBytes);
    _tile_loadd(4, codes, x.stride);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, next + kAmxBytes, kPanelBytes);
    _tile_dpbssd(1, 4, 7);
    if constexpr (kTiles > 1) {
      _tile_loadd(5, codes + kAmxTile * x.stride, x.stride);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
    codes += kAmxBytes;
    next += kAmxTile * kPanelBytes;
  }
  alignas(64) int32_t sums[kTiles * kAmxTile][kAmxColumns];
  _tile_stored(0, sums[0], sizeof(sums[0]));
  _tile_stored(1, sums[0] + kAmxTile, sizeof(sums[0]));
  if constexpr (kTiles > 1) {
    _tile_stored(2, sums[kAmxTile], sizeof(sums[0]));
    _tile_stored(3, sums[kAmxTile] + kAmxTile, sizeof(sums[0]));
  }
  asm volatile("" ::: "memory");
  for (int64_t r = 0; r < rows; r++) {
    const __m512i both[2] = {_mm512_load_si512(sums[r]), _mm512_load_si512(sums[r] + kAmxTile)};
    WriteRow<2>(both, x, row + r, panel, to, r);
  }
}

void AmxProduct(const Int8Rows& x, int64_t row, int64_t rows, const Panel& panel, const Target& to) {
  (rows > kAmxTile ? AmxRowsProduct<2> : AmxRowsProduct<1>)(x, row, rows, panel, to);
}

LFT_AMX void AmxBegin() {
  TileShapes shapes;
  shapes.Set(0, 7, kAmxTile, kAmxBytes);
  asm volatile("" ::: "memory");
  _tile_loadconfig(&shapes);
}
LFT_AMX void AmxEnd() { _tile_release(); }

const Kernel& FastestKernel() {
  static const Kernel vnni{kVnniRows, kVnniColumns, 1, true, VnniProduct, [] {}, [] {}};
  static const Kernel amx{kMostTileRows, kAmxColumns, kAmxTile, false, AmxProduct, AmxBegin, AmxEnd};
  return HasAmx() ? amx : vnni;
}

struct Range {
  int64_t begin, end;
};

// Rows and columns of y. A panel of columns is copied from the weight while the one before it is multiplied with: the weight's lines are
// asked for ahead of time.
void RangeProduct(const Kernel& kernel, const Int8Rows& x, const Source& w, const Values& y, int64_t stride, const float* scales, bool adds,
                  Range rows, Range columns, const Panel& panel) {
  int64_t tiles = (rows.end - rows.begin + kernel.rows - 1) / kernel.rows;
  kernel.begin();
  for (int64_t n = columns.begin; n < columns.end; n += panel.columns) {
    int64_t width = std::min(panel.columns, columns.end - n), next = std::min(panel.columns, columns.end - n - panel.columns);
    w.Pack(n, width, panel);
    for (int64_t t = 0; t < tiles; t++) {
      if (next > 0) w.Prefetch(n + panel.columns, next, t, tiles);
      int64_t i = rows.begin + t * kernel.rows;
      kernel.product(x, i, std::min(kernel.rows, rows.end - i), panel,
                     {y, i * stride + n, stride, width, scales == nullptr ? nullptr : scales + n, adds});
    }
  }
  kernel.end();
}

// y [count, columns] = x·w, each column times its scale where there are some, or added to it.
void Multiply(const Int8Rows& x, int64_t count, const Source& w, int64_t columns, const Values& y, const float* scales, bool adds) {
  const Kernel& kernel = FastestKernel();
  int64_t panels = (columns + kernel.columns - 1) / kernel.columns;
  int64_t threads = count * columns * w.inner < (int64_t{1} << 20) ? 1 : omp_get_max_threads();
  int64_t step = 4 * kernel.quads, quads = (w.inner + step - 1) / step * kernel.quads, bytes = 4 * quads * kernel.columns;
  auto* memory = static_cast<uint8_t*>(Scratch(9, threads * bytes));
  // Threads take panels where these come out even, else rows: then each copies every panel.
  bool by_rows = panels % threads != 0 && panels < 8 * threads && count >= 2 * kernel.rows * threads;
#pragma omp parallel num_threads(static_cast<int>(threads))
  {
    int64_t t = omp_get_thread_num();
    Range rows{0, count}, own{0, columns};
    if (by_rows) {
      int64_t tiles = (count + kernel.rows - 1) / kernel.rows;
      rows = {tiles * t / threads * kernel.rows, std::min(count, tiles * (t + 1) / threads * kernel.rows)};
    } else {
      own = {panels * t / threads * kernel.columns, std::min(columns, panels * (t + 1) / threads * kernel.columns)};
    }
    RangeProduct(kernel, x, w, y, columns, scales, adds, rows, own, {memory + t * bytes, kernel.columns, quads, kernel.excess});
  }
}

}  // namespace

bool TakesInt8Product(int64_t rows, int64_t columns) {
  static const bool has = HasVectors() && __builtin_cpu_supports("avx512vnni");
  // Sums of 255 · 127 must fit 32 bits.
  constexpr int64_t kMostInner = 65536;
  return has && rows <= kMostInner && columns <= kMostInner;
}

void Int8Product(const Values& x, const Int8Matrix& w, const Values& y, int64_t count) {
  Int8Rows rows = QuantiseRows(x, count, w.columns, nullptr);
  Multiply(rows, count, {w.codes, w.columns, w.columns, true}, w.rows, y, w.scales, false);
}

void Int8InputGradient(const Values& dy, const Int8Matrix& w, const Values& dx, int64_t count, bool adds) {
  Int8Rows rows = QuantiseRows(dy, count, w.rows, w.scales);
  Multiply(rows, count, {w.codes, w.columns, w.rows, false}, w.columns, dx, nullptr, adds);
}

#else

bool TakesInt8Product(int64_t, int64_t) { return false; }
void Int8Product(const Values&, const Int8Matrix&, const Values&, int64_t) {}
void Int8InputGradient(const Values&, const Int8Matrix&, const Values&, int64_t, bool) {}

#endif

}  // namespace lft
