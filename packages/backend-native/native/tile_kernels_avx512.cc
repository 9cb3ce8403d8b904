#include "tile_kernels_avx512.h"

#if defined(__x86_64__)
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
  static const bool vectors = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                              __builtin_cpu_supports("avx512vl");
  static const bool units = vectors && __builtin_cpu_supports("avx512bf16");
  static const TileKernels f32 = Make(Type::kF32), bf16 = Make(Type::kBf16);
  if (type == Type::kBf16) return units ? &bf16 : nullptr;
  return vectors ? &f32 : nullptr;
}

}  // namespace lft
#endif
