// What JavaScript sees of the kernels. Tensor memory is named by its address, a number; frozen weights are typed arrays, used where they
// lie. Every function takes plain numbers and arrays: the shapes were checked on the other side.

#include <dnnl.h>
#include <omp.h>

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "call.h"
#include "decode_block.h"
#include "elementwise.h"
#include "fused.h"
#include "map_file.h"
#include "low_rank.h"
#include "matmul.h"
#include "memory.h"
#include "quantised.h"
#include "split.h"
#include "vector_products.h"

namespace {

using lft::Call;
using lft::FromDouble;
using lft::Guarded;
using lft::Matrix;
using lft::Type;
using lft::Values;

// alloc(bytes, stays)
napi_value Alloc(Call& c) {
  void* block = lft::Allocate(static_cast<size_t>(c.Number(0)), c.Bool(1));
  if (block == nullptr) {
    std::string message = "out of memory: the system has no " + std::to_string(static_cast<int64_t>(c.Number(0) / 1e6)) + " MB for one more tensor";
    napi_throw_error(c.env_, "LFT_OUT_OF_MEMORY", message.c_str());
    return nullptr;
  }
  return FromDouble(c.env_, static_cast<double>(reinterpret_cast<uintptr_t>(block)));
}
napi_value Release(Call& c) {
  lft::Free(c.Data<void>(0));
  return nullptr;
}
napi_value Write(Call& c) {
  std::memcpy(c.Data<void>(0), c.Data<void>(1), c.Bytes(1));
  return nullptr;
}
// copy(target, source, bytes)
napi_value Copy(Call& c) {
  std::memcpy(c.Data<void>(0), c.Data<void>(1), static_cast<size_t>(c.Number(2)));
  return nullptr;
}
napi_value Read(Call& c) {
  size_t bytes = static_cast<size_t>(c.Number(1));
  void* data;
  napi_value buffer;
  if (napi_create_arraybuffer(c.env_, bytes, &data, &buffer) != napi_ok) throw std::bad_alloc();
  std::memcpy(data, c.Data<void>(0), bytes);
  return buffer;
}
// widen(x, y, count): bf16 values as f32
napi_value Widen(Call& c) {
  lft::FromBf16(c.Data<uint16_t>(0), c.Data<float>(1), c.Int(2));
  return nullptr;
}
napi_value BytesInUse(Call& c) { return FromDouble(c.env_, static_cast<double>(lft::BytesInUse())); }
napi_value BytesPooled(Call& c) { return FromDouble(c.env_, static_cast<double>(lft::BytesPooled())); }
napi_value TrimPool(Call&) {
  lft::Trim();
  return nullptr;
}
// describe() → { oneDnn: "3.14.1", isa }: isa is a dnnl_cpu_isa_t, the instructions that oneDNN uses here
napi_value Describe(Call& c) {
  const dnnl_version_t* v = dnnl_version();
  std::string version = std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  napi_value result, text;
  napi_create_object(c.env_, &result);
  napi_create_string_utf8(c.env_, version.c_str(), NAPI_AUTO_LENGTH, &text);
  napi_set_named_property(c.env_, result, "oneDnn", text);
  napi_set_named_property(c.env_, result, "isa", FromDouble(c.env_, dnnl_get_effective_cpu_isa()));
  return result;
}
// mapFile(file, offset, bytes, path) → ArrayBuffer over the file's pages, unmapped when it is collected
napi_value MapFileOp(Call& c) {
  size_t bytes = static_cast<size_t>(c.Number(2));
  void* data = lft::MapFile(static_cast<int>(c.Int(0)), static_cast<uint64_t>(c.Number(1)), bytes, c.Text(3));
  napi_value buffer;
  auto unmap = [](napi_env, void* pages, void*) { lft::UnmapFile(pages); };
  if (napi_create_external_arraybuffer(c.env_, data, bytes, unmap, nullptr, &buffer) == napi_ok) return buffer;
  lft::UnmapFile(data);
  throw std::runtime_error("this JavaScript engine takes no memory of an addon");
}
napi_value SetThreads(Call& c) {
  omp_set_num_threads(static_cast<int>(c.Int(0)));
  return nullptr;
}

// unary(op, x, y, count)
napi_value UnaryOp(Call& c) {
  lft::Apply(static_cast<lft::Unary>(c.Int(0)), c.Data<float>(1), c.Data<float>(2), c.Int(3));
  return nullptr;
}
// binary(op, a, b, out, shape, aStrides, bStrides)
napi_value BinaryOp(Call& c) {
  int64_t shape[8], a[8], b[8];
  int rank = c.Integers(4, shape);
  c.Integers(5, a);
  c.Integers(6, b);
  lft::Apply(static_cast<lft::Binary>(c.Int(0)), c.Tensor(1), c.Tensor(2), c.Tensor(3), shape, a, b, rank);
  return nullptr;
}
// reduce(op, x, y, outer, inner)
napi_value ReduceOp(Call& c) {
  lft::Reduce(static_cast<lft::Reduction>(c.Int(0)), c.Data<float>(1), c.Data<float>(2), c.Int(3), c.Int(4));
  return nullptr;
}
// softmax(x, y, rows, columns)
napi_value SoftmaxOp(Call& c) {
  lft::Softmax(c.Data<float>(0), c.Data<float>(1), c.Int(2), c.Int(3));
  return nullptr;
}
// permute(x, out, shape, strides)
napi_value PermuteOp(Call& c) {
  int64_t shape[8], strides[8];
  int rank = c.Integers(2, shape);
  c.Integers(3, strides);
  lft::Permute(c.Data<uint32_t>(0), c.Data<uint32_t>(1), shape, strides, rank);
  return nullptr;
}
// copyRows(source, sourceStride, target, targetStride, rows, bytes)
napi_value CopyRows(Call& c) {
  auto* source = c.Data<char>(0);
  auto* target = c.Data<char>(2);
  int64_t from = c.Int(1), to = c.Int(3), rows = c.Int(4), bytes = c.Int(5);
  for (int64_t r = 0; r < rows; r++) std::memcpy(target + r * to, source + r * from, bytes);
  return nullptr;
}
// fill(x, count, value)
napi_value Fill(Call& c) {
  auto* x = c.Data<float>(0);
  int64_t count = c.Int(1);
  float value = static_cast<float>(c.Number(2));
  for (int64_t i = 0; i < count; i++) x[i] = value;
  return nullptr;
}
// clear(x, bytes): zeros
napi_value Clear(Call& c) {
  auto* x = c.Data<char>(0);
  int64_t bytes = c.Int(1);
  lft::Split(bytes, 1, [&](int64_t begin, int64_t end) { std::memset(x + begin, 0, end - begin); });
  return nullptr;
}
// forgetPages(data)
napi_value ForgetPagesOp(Call& c) {
  lft::ForgetPages(c.Data<void>(0), c.Bytes(0));
  return nullptr;
}
// narrow(x, y, count): f32 rounded to bf16
napi_value Narrow(Call& c) {
  lft::ToBf16(c.Data<float>(0), c.Data<uint16_t>(1), c.Int(2));
  return nullptr;
}
// gather(table, ids, out, count, rowBytes): table f32, or bf16 widened
napi_value Gather(Call& c) {
  const int32_t* ids = c.Data<int32_t>(1);
  auto* out = c.Data<float>(2);
  int64_t count = c.Int(3), width = c.Int(4);
  if (c.TypeOf(0) == Type::kBf16) {
    auto* table = c.Data<uint16_t>(0);
    for (int64_t n = 0; n < count; n++) lft::FromBf16(table + ids[n] * width, out + n * width, width);
  } else {
    auto* table = c.Data<float>(0);
    for (int64_t n = 0; n < count; n++) std::memcpy(out + n * width, table + ids[n] * width, width * 4);
  }
  return nullptr;
}
// scatterAdd(ids, x, out, count, width): out is zeroed by the caller
napi_value ScatterAdd(Call& c) {
  const int32_t* ids = c.Data<int32_t>(0);
  auto* x = c.Data<float>(1);
  auto* out = c.Data<float>(2);
  int64_t count = c.Int(3), width = c.Int(4);
  for (int64_t n = 0; n < count; n++)
    for (int64_t i = 0; i < width; i++) out[ids[n] * width + i] += x[n * width + i];
  return nullptr;
}

// matmul(a, b, c, rows, inner, columns, transposeA, transposeB, bf16, adds)
napi_value MatmulOp(Call& c) {
  int64_t m = c.Int(3), k = c.Int(4), n = c.Int(5);
  Matrix a{c.Data<void>(0), c.TypeOf(0), m, k, c.Bool(6) ? 1 : k, c.Bool(6) ? m : 1};
  Matrix b{c.Data<void>(1), c.TypeOf(1), k, n, c.Bool(7) ? 1 : n, c.Bool(7) ? k : 1};
  lft::Matmul(a, b, c.Tensor(2), c.Bool(9), c.Bool(8));
  return nullptr;
}

// An int8 weight: its codes and scales at i, its shape at k.
lft::Int8Matrix Int8At(Call& c, int i, int k) { return {c.Data<int8_t>(i), c.Data<float>(i + 1), c.Int(k), c.Int(k + 1)}; }
// takesInt8(rows, columns)
napi_value TakesInt8(Call& c) { return FromDouble(c.env_, lft::TakesInt8Product(c.Int(0), c.Int(1))); }
// int8Product(x, codes, scales, y, count, rows, columns)
napi_value Int8ProductOp(Call& c) {
  lft::Int8Product(c.Tensor(0), Int8At(c, 1, 5), c.Tensor(3), c.Int(4));
  return nullptr;
}
// int8InputGradient(dy, codes, scales, dx, count, rows, columns, adds)
napi_value Int8InputGradientOp(Call& c) {
  lft::Int8InputGradient(c.Tensor(0), Int8At(c, 1, 5), c.Tensor(3), c.Int(4), c.Bool(7));
  return nullptr;
}
// unpackInt8(codes, scales, out, rows, columns)
napi_value UnpackInt8Op(Call& c) {
  lft::UnpackInt8(Int8At(c, 0, 3), c.Data<uint16_t>(2));
  return nullptr;
}
// The same of nf4.
lft::Nf4Matrix Nf4At(Call& c, int i, int k) { return {c.Data<uint8_t>(i), c.Data<float>(i + 1), c.Int(k), c.Int(k + 1)}; }
// unpackNf4(codes, scales, out, rows, columns)
napi_value UnpackNf4Op(Call& c) {
  lft::UnpackNf4(Nf4At(c, 0, 3), c.Data<uint16_t>(2));
  return nullptr;
}
// A frozen weight in any format: its values or codes at i, its scales, or 0, at i + 1.
lft::FrozenMatrix MatrixAt(const Call& c, int i, int64_t rows, int64_t columns) {
  return {c.Data<void>(i), c.Data<float>(i + 1), c.FormatOf(i), rows, columns};
}
// vectorProduct(x, codes, scales, y, count, rows, columns) → whether there is one for so many rows and this format
napi_value VectorProductOp(Call& c) {
  lft::FrozenMatrix w = MatrixAt(c, 1, c.Int(5), c.Int(6));
  bool done = c.Int(4) <= lft::kFewRows && lft::TakesVectorProduct(w);
  if (done) lft::VectorProducts(c.Tensor(0), c.Int(4), {{w, c.Tensor(3)}});
  return FromDouble(c.env_, done);
}
// takesVectorProduct(values, columns)
napi_value TakesVectorProductOp(Call& c) { return FromDouble(c.env_, lft::TakesVectorProduct({nullptr, nullptr, c.FormatOf(0), 1, c.Int(1)})); }
// decodeBlock(x, y, keys, values, cos, sin, inputNorm, outputNorm, q, qScales, k, kScales, v, …, o, …, gate, …, up, …, down, …, sizes), sizes =
// [model width, inner width, heads, key-value heads, head width, cached keys, epsilon]
napi_value DecodeBlockOp(Call& c) {
  double sizes[7];
  std::memcpy(sizes, c.Data<double>(22), sizeof(sizes));
  lft::DecoderShape shape{};
  int64_t* fields[] = {&shape.model, &shape.inner, &shape.heads, &shape.kv_heads, &shape.width, &shape.cached};
  for (int i = 0; i < 6; i++) *fields[i] = static_cast<int64_t>(sizes[i]);
  shape.epsilon = static_cast<float>(sizes[6]);
  int64_t queries = shape.heads * shape.width, keys = shape.kv_heads * shape.width;
  lft::DecoderBlock block{c.Tensor(6),
                          c.Tensor(7),
                          MatrixAt(c, 8, queries, shape.model),
                          MatrixAt(c, 10, keys, shape.model),
                          MatrixAt(c, 12, keys, shape.model),
                          MatrixAt(c, 14, shape.model, queries),
                          MatrixAt(c, 16, shape.inner, shape.model),
                          MatrixAt(c, 18, shape.inner, shape.model),
                          MatrixAt(c, 20, shape.model, shape.inner)};
  lft::DecodeBlock(block, shape, c.Data<float>(0), c.Data<float>(1), c.Tensor(2), c.Tensor(3), c.Data<float>(4), c.Data<float>(5));
  return nullptr;
}

// rmsNorm(x, weight, epsilon, y, inverse, rows, width)
napi_value RmsNormOp(Call& c) {
  lft::RmsNorm(c.Tensor(0), c.Data<float>(1), static_cast<float>(c.Number(2)), c.Tensor(3), c.Data<float>(4), c.Int(5), c.Int(6));
  return nullptr;
}
// rmsNormWeightGradient(dy, x, inverse, dw, rows, width)
napi_value RmsNormWeightGradientOp(Call& c) {
  lft::RmsNormWeightGradient(c.Tensor(0), c.Tensor(1), c.Data<float>(2), c.Data<float>(3), c.Int(4), c.Int(5));
  return nullptr;
}
// rmsNormGradient(dy, x, weight, inverse, dx, rows, width, adds)
napi_value RmsNormGradientOp(Call& c) {
  lft::RmsNormInputGradient(c.Tensor(0), c.Tensor(1), c.Data<float>(2), c.Data<float>(3), c.Tensor(4), c.Int(5), c.Int(6),
                            c.Bool(7));
  return nullptr;
}
// rotary(x, cos, sin, y, rows, heads, width, direction)
napi_value RotaryOp(Call& c) {
  lft::Rotary(c.Tensor(0), c.Data<float>(1), c.Data<float>(2), c.Tensor(3), c.Int(4), c.Int(5), c.Int(6),
              static_cast<float>(c.Number(7)));
  return nullptr;
}
// swiglu(gate, up, y, count)
napi_value SwigluOp(Call& c) {
  lft::Swiglu(c.Tensor(0), c.Tensor(1), c.Tensor(2), c.Int(3));
  return nullptr;
}
// swigluGradients(dy, gate, up, dgate, dup, count)
napi_value SwigluGradientsOp(Call& c) {
  lft::SwigluGradients(c.Tensor(0), c.Tensor(1), c.Tensor(2), c.Tensor(3), c.Tensor(4), c.Int(5));
  return nullptr;
}

lft::AttentionShape ShapeAt(const Call& c, int i) {
  return {c.Int(i),     c.Int(i + 1), c.Int(i + 2),                           c.Int(i + 3),           c.Int(i + 4),
          c.Int(i + 5), static_cast<float>(c.Number(i + 6)), c.Data<int32_t>(i + 7), c.Bool(i + 8) ? Type::kBf16 : Type::kF32};
}
// attention(q, k, v, o, logSum, batch, queries, keys, heads, kvHeads, width, scale, segments, bf16)
napi_value AttentionOp(Call& c) {
  lft::Attention(c.Data<void>(0), c.Data<void>(1), c.Data<void>(2), c.Data<void>(3), c.Data<float>(4), ShapeAt(c, 5));
  return nullptr;
}
// attentionGradients(dO, q, k, v, o, logSum, dq, dk, dv, batch, …)
napi_value AttentionGradientsOp(Call& c) {
  lft::AttentionGradients(c.Data<void>(0), c.Data<void>(1), c.Data<void>(2), c.Data<void>(3), c.Data<void>(4), c.Data<float>(5),
                          c.Data<void>(6), c.Data<void>(7), c.Data<void>(8), ShapeAt(c, 9));
  return nullptr;
}
// lowRank(x, a, b, low, y, rows, in, out, rank, scale, bf16)
napi_value LowRankOp(Call& c) {
  lft::LowRankShape shape{c.Int(5), c.Int(6), c.Int(7), c.Int(8), static_cast<float>(c.Number(9))};
  lft::LowRank(c.Tensor(0), c.Data<float>(1), c.Data<float>(2), c.Tensor(3), c.Tensor(4), shape, c.Bool(10));
  return nullptr;
}
// lowRankGradients(dy, x, a, b, low, dx, da, db, adds, rows, in, out, rank, scale, bf16)
napi_value LowRankGradientsOp(Call& c) {
  lft::LowRankShape shape{c.Int(9), c.Int(10), c.Int(11), c.Int(12), static_cast<float>(c.Number(13))};
  lft::LowRankGradients(c.Tensor(0), c.Tensor(1), c.Data<float>(2), c.Data<float>(3), c.Tensor(4), c.Tensor(5), c.Data<float>(6),
                        c.Data<float>(7), c.Bool(8), shape, c.Bool(14));
  return nullptr;
}
// linearCrossEntropy(h, weight, targets, dh, dw, rows, vocabulary, width, bf16) → loss
napi_value LinearCrossEntropyOp(Call& c) {
  int64_t rows = c.Int(5), vocabulary = c.Int(6), width = c.Int(7);
  Matrix weight{c.Data<void>(1), c.TypeOf(1), vocabulary, width, width, 1};
  return FromDouble(c.env_, lft::LinearCrossEntropy(c.Tensor(0), weight, c.Data<int32_t>(2), c.Data<float>(3), c.Data<float>(4), rows, c.Bool(8)));
}
// adamw(p, m, v, g, count, step, learningRate, weightDecay, beta1, beta2, epsilon, torch, seed)
napi_value AdamWOp(Call& c) {
  lft::AdamW hyper{c.Number(8), c.Number(9), static_cast<float>(c.Number(10)), c.Bool(11)};
  lft::AdamWStep(c.Tensor(0), c.Tensor(1), c.Tensor(2), c.Data<float>(3), c.Int(4), c.Int(5), c.Number(6), c.Number(7),
                 static_cast<uint32_t>(c.Int(12)), hyper);
  return nullptr;
}
// squaredNorm(x, count) → Σ x²
napi_value SquaredNormOp(Call& c) { return FromDouble(c.env_, lft::SquaredNorm(c.Data<float>(0), c.Int(1))); }

napi_value Init(napi_env env, napi_value exports) {
  struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"alloc", Guarded<Alloc>},
      {"release", Guarded<Release>},
      {"write", Guarded<Write>},
      {"copy", Guarded<Copy>},
      {"read", Guarded<Read>},
      {"widen", Guarded<Widen>},
      {"bytesInUse", Guarded<BytesInUse>},
      {"bytesPooled", Guarded<BytesPooled>},
      {"trim", Guarded<TrimPool>},
      {"describe", Guarded<Describe>},
      {"mapFile", Guarded<MapFileOp>},
      {"setThreads", Guarded<SetThreads>},
      {"unary", Guarded<UnaryOp>},
      {"binary", Guarded<BinaryOp>},
      {"reduce", Guarded<ReduceOp>},
      {"softmax", Guarded<SoftmaxOp>},
      {"permute", Guarded<PermuteOp>},
      {"copyRows", Guarded<CopyRows>},
      {"fill", Guarded<Fill>},
      {"clear", Guarded<Clear>},
      {"narrow", Guarded<Narrow>},
      {"forgetPages", Guarded<ForgetPagesOp>},
      {"gather", Guarded<Gather>},
      {"scatterAdd", Guarded<ScatterAdd>},
      {"matmul", Guarded<MatmulOp>},
      {"takesInt8", Guarded<TakesInt8>},
      {"int8Product", Guarded<Int8ProductOp>},
      {"int8InputGradient", Guarded<Int8InputGradientOp>},
      {"unpackInt8", Guarded<UnpackInt8Op>},
      {"unpackNf4", Guarded<UnpackNf4Op>},
      {"vectorProduct", Guarded<VectorProductOp>},
      {"takesVectorProduct", Guarded<TakesVectorProductOp>},
      {"decodeBlock", Guarded<DecodeBlockOp>},
      {"rmsNorm", Guarded<RmsNormOp>},
      {"rmsNormWeightGradient", Guarded<RmsNormWeightGradientOp>},
      {"rmsNormGradient", Guarded<RmsNormGradientOp>},
      {"rotary", Guarded<RotaryOp>},
      {"swiglu", Guarded<SwigluOp>},
      {"swigluGradients", Guarded<SwigluGradientsOp>},
      {"attention", Guarded<AttentionOp>},
      {"attentionGradients", Guarded<AttentionGradientsOp>},
      {"lowRank", Guarded<LowRankOp>},
      {"lowRankGradients", Guarded<LowRankGradientsOp>},
      {"linearCrossEntropy", Guarded<LinearCrossEntropyOp>},
      {"adamw", Guarded<AdamWOp>},
      {"squaredNorm", Guarded<SquaredNormOp>},
  };
  for (auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}

}  // namespace

NAPI_MODULE(lft_native, Init)
