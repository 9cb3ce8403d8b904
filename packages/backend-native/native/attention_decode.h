#pragma once
#include "fused.h"

namespace lft {

// Attention of a single query: as generation with a cache asks for it.
void Decode(const void* q, const void* k, const void* v, void* o, float* log_sum, const AttentionShape& shape);

}  // namespace lft
