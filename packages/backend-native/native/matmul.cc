#include "matmul.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <dnnl.hpp>

#include <omp.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "memory.h"
#include "vector_math.h"

namespace lft {
namespace {

// Multiplications below which one thread is enough.
constexpr int64_t kSmallProduct = int64_t{1} << 20;

using dnnl::memory;

dnnl::engine& Engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& Stream() {
  static dnnl::stream stream(Engine());
  return stream;
}

struct Key {
  int64_t values[10];
  bool operator==(const Key& other) const { return std::memcmp(values, other.values, sizeof(values)) == 0; }
};

struct KeyHash {
  size_t operator()(const Key& key) const {
    size_t h = 1469598103934665603ull;
    for (int64_t v : key.values) h = (h ^ static_cast<size_t>(v)) * 1099511628211ull;
    return h;
  }
};

struct Primitive {
  dnnl::matmul matmul;
  memory a, b, c;
  memory scratchpad;
};

std::unordered_map<Key, Primitive, KeyHash>& Cache() {
  static std::unordered_map<Key, Primitive, KeyHash> cache;
  return cache;
}

memory::desc Describe(const Matrix& m) {
  return {{m.rows, m.columns},
          m.type == Type::kF32 ? memory::data_type::f32 : memory::data_type::bf16,
          memory::dims{m.row_stride, m.column_stride}};
}

Primitive& Find(const Matrix& a, const Matrix& b, bool accumulate) {
  Key key{{a.rows, a.columns, b.columns, a.row_stride, a.column_stride, b.row_stride, b.column_stride,
           static_cast<int64_t>(a.type), static_cast<int64_t>(b.type), accumulate}};
  auto& cache = Cache();
  auto found = cache.find(key);
  if (found != cache.end()) return found->second;
  memory::desc ad = Describe(a), bd = Describe(b);
  memory::desc cd({a.rows, b.columns}, memory::data_type::f32, memory::dims{b.columns, 1});
  dnnl::primitive_attr attr;
  if (accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
  dnnl::matmul::primitive_desc pd(Engine(), ad, bd, cd, attr);
  std::string implementation = pd.impl_info_str();
  if (implementation.find("ref") != std::string::npos && a.rows * a.columns * b.columns > (1 << 18)) {
    throw std::runtime_error("oneDNN has no fast product [" + std::to_string(a.rows) + ", " + std::to_string(a.columns) +
                             "]·[" + std::to_string(b.rows) + ", " + std::to_string(b.columns) + "]: " + implementation);
  }
  // A handle is set before every run.
  Primitive made{dnnl::matmul(pd), memory(ad, Engine(), nullptr), memory(bd, Engine(), nullptr), memory(cd, Engine(), nullptr), memory()};
  return cache.emplace(key, std::move(made)).first->second;
}

// Rounds a dense f32 matrix to bf16 in scratch memory, in the order in which it lies.
Matrix Rounded(const Matrix& m, int slot) {
  int64_t count = m.rows * m.columns;
  auto* target = static_cast<uint16_t*>(Scratch(slot, count * 2));
  ToBf16(static_cast<const float*>(m.data), target, count);
  Matrix rounded = m;
  rounded.data = target;
  rounded.type = Type::kBf16;
  return rounded;
}

}  // namespace

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bf16,avx512vl"))) static void RoundRangeBf16(const float* source, uint16_t* target, int64_t count) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256bh packed = _mm512_cvtneps_pbh(_mm512_loadu_ps(source + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + i), reinterpret_cast<__m256i&>(packed));
  }
  if (i < count) {
    __mmask16 mask = static_cast<__mmask16>((1u << (count - i)) - 1);
    __m256bh packed = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, source + i));
    _mm256_mask_storeu_epi16(target + i, mask, reinterpret_cast<__m256i&>(packed));
  }
}
#endif

LFT_DISPATCH static void RoundRange(const float* source, uint16_t* target, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    std::memcpy(&bits, source + i, 4);
    bool nan = (bits & 0x7fffffff) > 0x7f800000;
    target[i] = nan ? 0x7fc0 : static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
}

void ToBf16(const float* source, uint16_t* target, int64_t count) {
  constexpr int64_t kPart = 4096;
#if defined(__x86_64__)
  static const bool units = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl");
#else
  constexpr bool units = false;
#endif
#pragma omp parallel for schedule(static) if (count > 4 * kPart)
  for (int64_t begin = 0; begin < count; begin += kPart) {
    int64_t part = count - begin < kPart ? count - begin : kPart;
#if defined(__x86_64__)
    if (units) {
      RoundRangeBf16(source + begin, target + begin, part);
      continue;
    }
#endif
    RoundRange(source + begin, target + begin, part);
  }
}

void FromBf16(const uint16_t* source, float* target, int64_t count) {
#pragma omp parallel for schedule(static) if (count > 16384)
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits = static_cast<uint32_t>(source[i]) << 16;
    std::memcpy(target + i, &bits, 4);
  }
}

void Matmul(const Matrix& a, const Matrix& b, float* c, bool accumulate, bool round) {
  if (a.type != b.type || (round && a.type == Type::kF32)) {
    Matrix x = a.type == Type::kF32 ? Rounded(a, 0) : a;
    Matrix y = b.type == Type::kF32 ? Rounded(b, 1) : b;
    return Matmul(x, y, c, accumulate, false);
  }
  // A small product is done before a second thread has woken up.
  int threads = omp_get_max_threads();
  bool small = a.rows * a.columns * b.columns < kSmallProduct;
  if (small) omp_set_num_threads(1);
  Primitive& primitive = Find(a, b, accumulate);
  primitive.a.set_data_handle(const_cast<void*>(a.data));
  primitive.b.set_data_handle(const_cast<void*>(b.data));
  primitive.c.set_data_handle(c);
  primitive.matmul.execute(Stream(), {{DNNL_ARG_SRC, primitive.a}, {DNNL_ARG_WEIGHTS, primitive.b}, {DNNL_ARG_DST, primitive.c}});
  Stream().wait();
  if (small) omp_set_num_threads(threads);
}

}  // namespace lft
