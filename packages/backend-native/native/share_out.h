#pragma once
#include <cstdint>

namespace lft {

// Calls body(item, thread) once for every item below `count`, in this thread and in others that are free just now; thread is below the number
// that omp_get_max_threads gives. Items are handed out in order, one at a time.
//
// For work of microseconds between two pieces of JavaScript. An OpenMP region waits for every thread of its team: where another process holds a
// core, each region lasts a time slice. Here a thread that has not begun is not waited for.
class ItemBody {
 public:
  template <typename Body>
  ItemBody(const Body& body)  // NOLINT: made of a lambda at the call
      : body_(&body), call_([](const void* b, int64_t item, int thread) { (*static_cast<const Body*>(b))(item, thread); }) {}
  void operator()(int64_t item, int thread) const { call_(body_, item, thread); }

 private:
  const void* body_;
  void (*call_)(const void*, int64_t, int);
};
void ShareOut(int64_t count, const ItemBody& body);

}  // namespace lft
