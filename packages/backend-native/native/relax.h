#pragma once

namespace lft {

// Between two looks of a thread that waits: leaves the core's other work alone.
inline void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield" ::: "memory");
#endif
}

}  // namespace lft
