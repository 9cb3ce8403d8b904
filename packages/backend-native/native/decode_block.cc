#include "decode_block.h"

#include <cmath>

#include "attention_decode.h"
#include "attention_tiles.h"
#include "fused.h"
#include "memory.h"

namespace lft {
namespace {

constexpr int kSlot = 10;

// What lies between x and y.
struct Between {
  Values normed, q, mixed, out, gate, up, inner;
  float *wide, *log_sum;

  Between(Pieces& pieces, const DecoderShape& s, Type type) {
    auto take = [&](int64_t count) { return Values{pieces.Take<char>(count * BytesOf(type)), type}; };
    int64_t heads = s.heads * s.width;
    normed = take(s.model), q = take(heads), mixed = take(heads), out = take(s.model);
    gate = take(s.inner), up = take(s.inner), inner = take(s.inner);
    wide = pieces.Take<float>(s.model), log_sum = pieces.Take<float>(s.heads);
  }
};

void Norm(const float* x, const Values& weight, float* wide, const DecoderShape& s, const Values& y) {
  float inverse;
  RmsNorm({const_cast<float*>(x), Type::kF32}, Read(weight, 0, s.model, wide), s.epsilon, y, &inverse, 1, s.model);
}

// y = a + b, of which b is of the activations' type.
void Add(const float* a, const Values& b, float* wide, float* y, int64_t count) {
  const float* more = Read(b, 0, count, wide);
  for (int64_t i = 0; i < count; i++) y[i] = a[i] + more[i];
}

}  // namespace

void DecodeBlock(const DecoderBlock& block, const DecoderShape& s, const float* x, float* y, const Values& keys, const Values& values,
                 const float* cos, const float* sin) {
  Type type = keys.type;
  Pieces size;
  Between(size, s, type);
  Pieces pieces(Scratch(kSlot, size.used()));
  Between t(pieces, s, type);
  auto last = [&](const Values& cache) {
    return Values{static_cast<char*>(cache.data) + s.cached * s.kv_heads * s.width * BytesOf(type), type};
  };
  Values k = last(keys), v = last(values);
  Norm(x, block.input_norm, t.wide, s, t.normed);
  VectorProducts(t.normed, 1, {{block.q, t.q}, {block.k, k}, {block.v, v}});
  Rotary(t.q, cos, sin, t.q, 1, s.heads, s.width, 1);
  Rotary(k, cos, sin, k, 1, s.kv_heads, s.width, 1);
  AttentionShape attention{1, 1, s.cached + 1, s.heads, s.kv_heads, s.width, static_cast<float>(1 / std::sqrt(s.width)), nullptr, type};
  Decode(t.q.data, keys.data, values.data, t.mixed.data, t.log_sum, attention);
  VectorProducts(t.mixed, 1, {{block.o, t.out}});
  Add(x, t.out, t.wide, y, s.model);
  Norm(y, block.output_norm, t.wide, s, t.normed);
  VectorProducts(t.normed, 1, {{block.gate, t.gate}, {block.up, t.up}});
  Swiglu(t.gate, t.up, t.inner, s.inner);
  VectorProducts(t.inner, 1, {{block.down, t.out}});
  Add(y, t.out, t.wide, y, s.model);
}

}  // namespace lft
