#pragma once
#include "low_rank.h"

namespace lft {

// low_rank.h's products for activations in bf16, of which dy alone may be f32. A block of rows goes through all products while it is in the
// cache, so that activations are read once.
// Both return false where the processor or the shape is not right for it, and nothing is done.

bool LowRankBlocks(const Values& x, const float* a, const float* b, const Values& low, const Values& y, const LowRankShape& shape);
bool LowRankBlocksGradients(const Values& dy, const Values& x, const float* a, const float* b, const Values& low, const Values& dx, float* da,
                            float* db, bool adds, const LowRankShape& shape);

}  // namespace lft
