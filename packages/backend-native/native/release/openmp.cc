// What GCC's code for `#pragma omp parallel` and oneDNN call of the OpenMP runtime, so that a released addon needs no libgomp: small
// container images have none. Regions are forked to threads that stay; inside one, another runs on its own thread alone.
#include <omp.h>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "../relax.h"

namespace {

using lft::Relax;

// Waiting threads look so often before they sleep, below a millisecond: longer, and a process that needs the core would stall every region.
constexpr int kSpins = 20000;

// A number that one thread changes and others wait for.
class Signal {
 public:
  uint32_t Value() const { return word_.load(std::memory_order_acquire); }

  void Set(uint32_t value) {
    word_.store(value);
    if (sleepers_.load() > 0) syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }

  // Returns the first value seen that is another.
  uint32_t AwaitOther(uint32_t seen) {
    for (int i = 0; i < kSpins; i++) {
      uint32_t value = Value();
      if (value != seen) return value;
      Relax();
    }
    sleepers_++;
    while (Value() == seen) syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    sleepers_--;
    return Value();
  }

 private:
  std::atomic<uint32_t> word_{0};
  std::atomic<int> sleepers_{0};
};

// A loop whose chunks are handed out as threads become free.
struct Loop {
  std::mutex mutex;
  int entered = 0;
  std::atomic<long> next{0};
  long end = 0, chunk = 1;

  bool Enter(long begin, long loop_end, long loop_chunk, long* from, long* to) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (entered++ == 0) {
        next = begin;
        end = loop_end;
        chunk = loop_chunk;
      }
    }
    return Next(from, to);
  }

  bool Next(long* from, long* to) {
    *from = next.fetch_add(chunk);
    *to = std::min(*from + chunk, end);
    return *from < end;
  }
};

// The threads of one JavaScript thread.
class Team {
 public:
  ~Team() {
    stop_ = true;
    Start(kMost);
    for (std::thread& thread : threads_) thread.join();
  }

  // Up to `count` threads with the caller; fewer where the system gives no more.
  int Grow(int count);
  void Run(void (*body)(void*), void* data, int count);
  void Barrier(int size) {
    uint32_t phase = phase_.Value();
    if (arrived_.fetch_add(1) + 1 < size) {
      phase_.AwaitOther(phase);
      return;
    }
    arrived_ = 0;
    loop.entered = 0;
    phase_.Set(phase + 1);
  }

  static constexpr uint32_t kMost = 1023;
  Loop loop;

 private:
  void Serve(int number, uint32_t region);
  // A region's number and its size are one value: a thread that takes no part may read it late, and must not mix two regions.
  void Start(uint32_t size) { region_.Set((region_.Value() & ~kMost) + kMost + 1 + size); }

  std::vector<std::thread> threads_;
  void (*body_)(void*) = nullptr;
  void* data_ = nullptr;
  std::atomic<bool> stop_{false};
  std::atomic<int> working_{0};
  std::atomic<int> arrived_{0};
  Signal region_, done_, phase_;
};

// Of the region that this thread is in.
thread_local Team* team = nullptr;
thread_local int number = 0;
thread_local int size = 1;

// For a region of one thread.
thread_local Loop alone;

// Of the regions that this thread starts.
thread_local int most = 0;
thread_local std::unique_ptr<Team> own;

int Team::Grow(int count) {
  try {
    while (static_cast<int>(threads_.size()) < count - 1)
      threads_.emplace_back(&Team::Serve, this, static_cast<int>(threads_.size()) + 1, region_.Value());
    return count;
  } catch (const std::exception&) {
    return static_cast<int>(threads_.size()) + 1;
  }
}

void Team::Run(void (*body)(void*), void* data, int count) {
  body_ = body;
  data_ = data;
  working_ = count - 1;
  uint32_t finished = done_.Value();
  Start(count);
  team = this;
  size = count;
  body(data);
  size = 1;
  team = nullptr;
  done_.AwaitOther(finished);
}

void Team::Serve(int own_number, uint32_t region) {
  team = this;
  number = own_number;
  for (;;) {
    region = region_.AwaitOther(region);
    if (stop_) return;
    size = static_cast<int>(region & kMost);
    if (number >= size) continue;
    body_(data_);
    if (working_.fetch_sub(1) == 1) done_.Set(done_.Value() + 1);
  }
}

int Cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

extern "C" {

void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned) {
  int count = std::min<int>(threads > 0 ? threads : omp_get_max_threads(), Team::kMost);
  if (count > 1 && team == nullptr) {
    if (!own) own = std::make_unique<Team>();
    count = own->Grow(count);
    if (count > 1) return own->Run(body, data, count);
  }
  int outer_number = number, outer_size = size;
  number = 0;
  size = 1;
  body(data);
  number = outer_number;
  size = outer_size;
}

void GOMP_barrier() {
  if (size > 1) team->Barrier(size);
}

// `#pragma omp for schedule(dynamic)`, upwards.
bool GOMP_loop_nonmonotonic_dynamic_start(long begin, long end, long step, long chunk, long* from, long* to) {
  Loop& loop = size > 1 ? team->loop : alone;
  return loop.Enter(begin, end, chunk * step, from, to);
}
bool GOMP_loop_nonmonotonic_dynamic_next(long* from, long* to) { return (size > 1 ? team->loop : alone).Next(from, to); }
void GOMP_loop_end() {
  if (size > 1) return GOMP_barrier();
  alone.entered = 0;
}

int omp_get_thread_num() noexcept { return number; }
int omp_get_num_threads() noexcept { return size; }
int omp_in_parallel() noexcept { return team != nullptr; }
int omp_get_max_threads() noexcept {
  static const int cores = Cores();
  return most > 0 ? most : cores;
}
void omp_set_num_threads(int count) noexcept { most = count; }

}
