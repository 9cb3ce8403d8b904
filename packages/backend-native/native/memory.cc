#include "memory.h"

#include <cstdint>
#include <cstdlib>
#include <new>
#include <unordered_map>
#include <vector>

namespace lft {
namespace {

constexpr size_t kAlignment = 64;
// Pooled memory above this goes back to the system at once.
constexpr size_t kLargestPool = size_t{1} << 30;

struct Header {
  size_t bytes;
};
static_assert(sizeof(Header) <= kAlignment);

// Tensors never cross JavaScript threads, so each thread (a worker) has a pool of its own, which ends with it.
struct Pool : std::unordered_map<size_t, std::vector<Header*>> {
  ~Pool() {
    for (auto& [size, blocks] : *this)
      for (Header* header : blocks) std::free(header);
  }
};
thread_local Pool pool;
thread_local size_t in_use = 0;
thread_local size_t pooled = 0;

// Eight classes between powers of two: at most an eighth is wasted.
size_t SizeClass(size_t bytes) {
  if (bytes <= 256) return 256;
  int log = 63 - __builtin_clzll(bytes - 1);
  size_t step = size_t{1} << (log > 3 ? log - 3 : 0);
  return (bytes + step - 1) / step * step;
}

struct Slot {
  void* block = nullptr;
  size_t bytes = 0;
  ~Slot() { std::free(block); }
};
thread_local Slot slots[16];

}  // namespace

void* Allocate(size_t bytes) {
  size_t size = SizeClass(bytes);
  auto& free = pool[size];
  Header* header;
  if (!free.empty()) {
    header = free.back();
    free.pop_back();
    pooled -= size;
  } else {
    header = static_cast<Header*>(std::aligned_alloc(kAlignment, (kAlignment + size + 63) / 64 * 64));
    if (header == nullptr && pooled > 0) {
      Trim();
      header = static_cast<Header*>(std::aligned_alloc(kAlignment, (kAlignment + size + 63) / 64 * 64));
    }
    if (header == nullptr) return nullptr;
    header->bytes = size;
  }
  in_use += size;
  return reinterpret_cast<char*>(header) + kAlignment;
}

void Free(void* block) {
  if (block == nullptr) return;
  auto* header = reinterpret_cast<Header*>(static_cast<char*>(block) - kAlignment);
  in_use -= header->bytes;
  if (pooled + header->bytes > kLargestPool) {
    std::free(header);
    return;
  }
  pool[header->bytes].push_back(header);
  pooled += header->bytes;
}

size_t BytesInUse() { return in_use; }
size_t BytesPooled() { return pooled; }

void Trim() {
  for (auto& [size, blocks] : pool) {
    for (Header* header : blocks) std::free(header);
    blocks.clear();
  }
  pooled = 0;
}

void* Scratch(int slot, size_t bytes) {
  Slot& entry = slots[slot];
  if (entry.bytes < bytes) {
    std::free(entry.block);
    entry.bytes = SizeClass(bytes);
    entry.block = std::aligned_alloc(kAlignment, (entry.bytes + 63) / 64 * 64);
    if (entry.block == nullptr) {
      entry.bytes = 0;
      throw std::bad_alloc();
    }
  }
  return entry.block;
}

}  // namespace lft
