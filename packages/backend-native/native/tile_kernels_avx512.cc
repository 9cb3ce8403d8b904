#include "tile_kernels_avx512.h"

#if defined(__x86_64__)
#include "vectors_avx512.h"

namespace lft {
namespace {

TileKernels Make(Type type) {
  TileKernels kernels{};
  kernels.type = type;
  kernels.pack = type == Type::kBf16 ? 2 : 1;
  kernels.rows = kRows;
  SetAvx512Products(kernels);
  SetAvx512Layouts(kernels);
  SetAvx512Softmax(kernels);
  return kernels;
}

}  // namespace

const TileKernels* Avx512TileKernels(Type type) {
  static const bool units = HasVectors() && __builtin_cpu_supports("avx512bf16");
  static const TileKernels f32 = Make(Type::kF32), bf16 = Make(Type::kBf16);
  if (type == Type::kBf16) return units ? &bf16 : nullptr;
  return HasVectors() ? &f32 : nullptr;
}

}  // namespace lft
#endif
