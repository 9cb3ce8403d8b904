#pragma once
#include <cstdint>

#include "vector_products.h"

namespace lft {

struct DecoderShape {
  int64_t model, inner;            // widths of the residual stream and inside the MLP
  int64_t heads, kv_heads, width;  // width of a head
  int64_t cached;                  // positions before the new one
  float epsilon;
};

// What a block of a Llama is made of. Norms are vectors of the model's width, matrices of one format.
struct DecoderBlock {
  Values input_norm, output_norm;
  FrozenMatrix q, k, v, o, gate, up, down;
};

// One block for one new token: x [model] to y [model], f32. keys and values [cached + 1, kv_heads, width] have the new token's place as their
// last row, which is written; their type is that of all that is between x and y. cos and sin [width] are of the token's position.
//
// The same steps as the kernels of single operations, with the same rounding. What is left out is JavaScript between them, which takes as
// long as the products of a small model.
void DecodeBlock(const DecoderBlock& block, const DecoderShape& shape, const float* x, float* y, const Values& keys, const Values& values,
                 const float* cos, const float* sin);

}  // namespace lft
