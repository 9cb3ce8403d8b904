#pragma once
#include "tile_kernels.h"

namespace lft {

// Those of AVX-512 for bf16, with products on the matrix units; nullptr where the processor lacks them.
const TileKernels* AmxTileKernels();

}  // namespace lft
