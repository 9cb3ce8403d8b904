#include "matmul.h"

#include <dnnl.hpp>

#include <omp.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "bf16_units.h"
#include "f32_product.h"
#include "memory.h"
#include "vector_products.h"

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
  thread_local dnnl::stream stream(Engine());
  return stream;
}

struct Key {
  int64_t values[11];
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
  // Of each JavaScript thread: its primitives are told their operands just before they run.
  thread_local std::unordered_map<Key, Primitive, KeyHash> cache;
  return cache;
}

memory::data_type TypeOf(Type type) { return type == Type::kF32 ? memory::data_type::f32 : memory::data_type::bf16; }

memory::desc Describe(const Matrix& m) {
  return {{m.rows, m.columns}, TypeOf(m.type), memory::dims{m.row_stride, m.column_stride}};
}

Primitive& Find(const Matrix& a, const Matrix& b, Type c, bool accumulate) {
  Key key{{a.rows, a.columns, b.columns, a.row_stride, a.column_stride, b.row_stride, b.column_stride,
           static_cast<int64_t>(a.type), static_cast<int64_t>(b.type), static_cast<int64_t>(c), accumulate}};
  auto& cache = Cache();
  auto found = cache.find(key);
  if (found != cache.end()) return found->second;
  memory::desc ad = Describe(a), bd = Describe(b);
  memory::desc cd({a.rows, b.columns}, TypeOf(c), memory::dims{b.columns, 1});
  dnnl::primitive_attr attr;
  if (accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
  dnnl::matmul::primitive_desc pd(Engine(), ad, bd, cd, attr);
  std::string implementation = pd.impl_info_str();
  // Not "gemm:ref", which takes f32 where nothing else does: on arm64 without SVE, and with a transposed.
  if (implementation.rfind("ref", 0) == 0 && a.rows * a.columns * b.columns > (1 << 18)) {
    throw std::runtime_error("oneDNN has no fast product [" + std::to_string(a.rows) + ", " + std::to_string(a.columns) +
                             "]·[" + std::to_string(b.rows) + ", " + std::to_string(b.columns) + "]: " + implementation);
  }
  // A handle is set before every run.
  Primitive made{dnnl::matmul(pd), memory(ad, Engine(), nullptr), memory(bd, Engine(), nullptr), memory(cd, Engine(), nullptr), memory()};
  return cache.emplace(key, std::move(made)).first->second;
}

// A dense matrix in the given type: as it is, or converted in scratch memory, in the order in which it lies.
Matrix As(Type type, const Matrix& m, int slot) {
  if (m.type == type) return m;
  int64_t count = m.rows * m.columns;
  void* target = Scratch(slot, count * BytesOf(type));
  if (type == Type::kBf16) ToBf16(static_cast<const float*>(m.data), static_cast<uint16_t*>(target), count);
  else FromBf16(static_cast<const uint16_t*>(m.data), static_cast<float*>(target), count);
  Matrix converted = m;
  converted.data = target;
  converted.type = type;
  return converted;
}

}  // namespace

static void MatmulWidened(const Matrix& a, const Matrix& b, const Values& c, bool accumulate) {
  Matrix x = As(Type::kF32, a, 0), y = As(Type::kF32, b, 1);
  if (c.type == Type::kF32) return Matmul(x, y, c, accumulate);
  int64_t count = a.rows * b.columns;
  auto* sum = static_cast<float*>(Scratch(3, count * 4));
  if (accumulate) FromBf16(static_cast<uint16_t*>(c.data), sum, count);
  Matmul(x, y, {sum, Type::kF32}, accumulate);
  ToBf16(sum, static_cast<uint16_t*>(c.data), count);
}

void Matmul(const Matrix& a, const Matrix& b, const Values& c, bool accumulate, bool round) {
  bool rows = a.row_stride == a.columns && a.column_stride == 1 && b.row_stride == 1 && b.column_stride == b.rows;
  if (a.rows <= kFewRows && rows && !accumulate) {
    auto format = b.type == Type::kBf16 ? FrozenMatrix::Format::kBf16 : FrozenMatrix::Format::kF32;
    return VectorProducts({const_cast<void*>(a.data), a.type}, a.rows, {{{b.data, nullptr, format, b.columns, b.rows}, c}});
  }
  bool small = a.rows * a.columns * b.columns < kSmallProduct;
  bool f32 = a.type == Type::kF32 && b.type == Type::kF32, in_f32 = !HasFastBf16Units() || (f32 && !round);
  if (in_f32 && !(f32 && c.type == Type::kF32)) {
    if (small || !F32Product(a, b, c, accumulate)) MatmulWidened(a, b, c, accumulate);
    return;
  }
  if (!in_f32 && (a.type == Type::kF32 || b.type == Type::kF32)) {
    return Matmul(As(Type::kBf16, a, 0), As(Type::kBf16, b, 1), c, accumulate);
  }
  // A small product is done before a second thread has woken up.
  int threads = omp_get_max_threads();
  if (small) omp_set_num_threads(1);
  Primitive& primitive = Find(a, b, c.type, accumulate);
  primitive.a.set_data_handle(const_cast<void*>(a.data));
  primitive.b.set_data_handle(const_cast<void*>(b.data));
  primitive.c.set_data_handle(c.data);
  primitive.matmul.execute(Stream(), {{DNNL_ARG_SRC, primitive.a}, {DNNL_ARG_WEIGHTS, primitive.b}, {DNNL_ARG_DST, primitive.c}});
  Stream().wait();
  if (small) omp_set_num_threads(threads);
}

}  // namespace lft
