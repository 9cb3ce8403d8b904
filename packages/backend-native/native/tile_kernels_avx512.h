#pragma once
#include "tile_kernels.h"

namespace lft {

// nullptr where the processor lacks the instructions.
const TileKernels* Avx512TileKernels(Type type);

// Each sets some of the kernels, as the type asks.
void SetAvx512Products(TileKernels& kernels);
void SetAvx512Layouts(TileKernels& kernels);
void SetAvx512Softmax(TileKernels& kernels);

}  // namespace lft
