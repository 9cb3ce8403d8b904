#pragma once
#include "tile_kernels.h"

namespace lft {

// nullptr where the processor lacks the instructions.
const TileKernels* Avx512TileKernels(Type type);

}  // namespace lft
