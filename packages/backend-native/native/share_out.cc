#include "share_out.h"

#include <linux/futex.h>
#include <omp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <mutex>
#include <thread>

#include "relax.h"

namespace lft {
namespace {

// Free threads look so often for the next job before they sleep, some 100 µs: the time that JavaScript takes between two products.
constexpr int kSpins = 5000;
// Items that are being done are awaited so long before the thread lets others run.
constexpr int kPatience = 2000;

// One job at a time. `open` holds the number of the job and how many of its items nobody has taken; whoever takes one by changing it knows that
// the job's other fields are valid until the item is counted as done.
struct Team {
  std::mutex busy;
  std::atomic<uint64_t> open{0};
  const ItemBody* body = nullptr;
  int64_t count = 0;
  std::atomic<int64_t> left{0};
  // Threads beside the caller's that may help, those that there are, and those asleep on `jobs`.
  std::atomic<int> helpers{0};
  int made = 0;
  std::atomic<uint32_t> jobs{0};
  std::atomic<int> sleepers{0};

  bool DoOne(int thread) {
    uint64_t seen = open.load();
    do {
      if ((seen & 0xffffffff) == 0) return false;
    } while (!open.compare_exchange_weak(seen, seen - 1));
    (*body)(count - static_cast<int64_t>(seen & 0xffffffff), thread);
    left.fetch_sub(1);
    return true;
  }

  void Help(int thread) {
    for (;;) {
      uint32_t job = jobs.load();
      for (int spins = 0; spins < kSpins; spins++) {
        if (thread <= helpers.load() && DoOne(thread)) spins = 0;
        Relax();
      }
      sleepers.fetch_add(1);
      syscall(SYS_futex, &jobs, FUTEX_WAIT_PRIVATE, job, nullptr, nullptr, 0);
      sleepers.fetch_sub(1);
    }
  }

  void Run(int64_t items, const ItemBody& what, int threads) {
    // Helpers stay for the life of the process, as those of OpenMP do.
    for (; made < threads - 1; made++) std::thread([this, thread = made + 1] { Help(thread); }).detach();
    helpers = threads - 1;
    body = &what;
    count = items;
    left = items;
    open = ((open.load() >> 32) + 1) << 32 | static_cast<uint64_t>(items);
    jobs.fetch_add(1);
    if (sleepers.load() > 0) syscall(SYS_futex, &jobs, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    while (DoOne(0)) {
    }
    for (int spins = 0; left.load() > 0; spins++) {
      Relax();
      if (spins > kPatience) sched_yield();
    }
  }
};

}  // namespace

void ShareOut(int64_t count, const ItemBody& body) {
  // Never freed: helpers use it until the process ends.
  static Team* team = new Team;
  int threads = omp_get_max_threads();
  std::unique_lock<std::mutex> lock(team->busy, std::try_to_lock);
  // One thread, or one more of JavaScript's that comes at the same time.
  if (count < 2 || threads < 2 || !lock.owns_lock()) {
    for (int64_t i = 0; i < count; i++) body(i, 0);
    return;
  }
  team->Run(count, body, threads);
}

}  // namespace lft
