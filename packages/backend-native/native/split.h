#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "values.h"

namespace lft {

// Splits [0, count) evenly over the threads: the same split for the same number of threads, so the same bits.
template <typename Body>
void Split(int64_t count, int64_t cost, Body body) {
  if (count * cost < 16384) return body(int64_t{0}, count);
#pragma omp parallel
  {
    int64_t threads = omp_get_num_threads(), t = omp_get_thread_num();
    int64_t begin = count * t / threads, end = count * (t + 1) / threads;
    if (begin < end) body(begin, end);
  }
}

// Splits [0, count) over the threads, and each thread's range into parts of at most kPart values.
template <typename Body>
void SplitInParts(int64_t count, int64_t cost, Body body) {
  Split(count, cost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kPart) body(i, std::min(kPart, end - i));
  });
}

}  // namespace lft
